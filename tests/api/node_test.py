"""npm's xen-api, the client of Xen Orchestra: it connects, gathers all objects, sees events."""

import json
import subprocess
import unittest

import lab

PROGRAM = """
import { createClient } from 'xen-api'
const [url, password] = process.argv.slice(2)
const client = createClient({ url, auth: { user: 'root', password }, allowUnauthorized: true,
                              readOnly: false })
await client.connect()
await client.objectsFetched
const all = Object.values(client.objects.all)
const count = {}
for (const object of all) count[object.$type] = (count[object.$type] ?? 0) + 1
const pool = client.pool
const before = pool.name_description
const seen = new Promise(resolve => client.objects.on('update', changed => {
  const found = changed[pool.$id] ?? Object.values(changed).find(o => o?.$ref === pool.$ref)
  if (found?.name_description === 'seen by node') resolve(true)
}))
await client.call('pool.set_name_description', pool.$ref, 'seen by node')
const event = await Promise.race([seen, new Promise(r => setTimeout(r, 20e3, false))])
await client.call('pool.set_name_description', pool.$ref, before)
const template = all.find(o => o.$type === 'VM' && o.name_label === process.argv[4])
console.log(JSON.stringify({ count, event, template: template?.is_a_template,
                             master: pool.$master.name_label }))
await client.disconnect()
process.exit(0)
"""


class Node(unittest.TestCase):
    def test_xen_api_connects_and_sees_objects_and_events(self):
        folder = lab.node_with_xen_api()
        host = lab.host()
        program = folder / "basalt-test.mjs"
        program.write_text(PROGRAM)
        done = subprocess.run(
            ["node", str(program), host.url, lab.PASSWORD, lab.TEMPLATE], cwd=folder,
            capture_output=True, text=True, check=False, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-3000:])
        seen = json.loads(done.stdout.splitlines()[-1])
        lab.say(f"xen-api sees {sum(seen['count'].values())} objects of "
                f"{len(seen['count'])} classes")
        self.assertTrue(seen["event"], "no event of the change came within 20 s")
        self.assertTrue(seen["template"])
        self.assertEqual(seen["count"]["pool"], 1)
        self.assertEqual(seen["master"], "host1")


if __name__ == "__main__":
    unittest.main()
