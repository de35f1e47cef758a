"""The plug-ins as hostd runs them, on a machine whose tools are scripts of the test."""

import json
import os
import subprocess
import tempfile
import unittest
import xmlrpc.client
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Plugin(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.bin = Path(folder.name)
        for tool in ("python3", "cat", "sh"):
            for place in ("/usr/bin", "/bin"):
                if os.path.exists(f"{place}/{tool}") and not (self.bin / tool).exists():
                    (self.bin / tool).symlink_to(f"{place}/{tool}")
        self.environment = {"PATH": str(self.bin), "PYTHONDONTWRITEBYTECODE": "1"}

    def tool(self, name, text, status=0):
        script = self.bin / name
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        script.chmod(0o755)

    def call(self, plugin, function, args=None):
        request = xmlrpc.client.dumps(("OpaqueRef:none", args or {}), methodname=function)
        done = subprocess.run(["/usr/bin/python3", HERE / plugin, request], env=self.environment,
                              capture_output=True, text=True, check=True)
        ((answer,), _) = xmlrpc.client.loads(done.stdout)
        if answer["Status"] == "Success":
            return answer["Value"]
        return answer["ErrorDescription"]

    def test_block_devices_are_a_tree(self):
        self.tool("lsblk", 'NAME="sda" KNAME="sda" PKNAME="" SIZE="100" TYPE="disk" RO="0" '
                           'MOUNTPOINT=""\n'
                           'NAME="sda1" KNAME="sda1" PKNAME="sda" SIZE="60" TYPE="part" RO="0" '
                           'MOUNTPOINT="/boot dir"')
        (disk,) = json.loads(self.call("lsblk.py", "list_block_devices"))["blockdevices"]
        self.assertEqual((disk["name"], disk["children"][0]["mountpoint"]), ("sda", "/boot dir"))

    def test_what_the_host_lacks_is_a_missing_plugin(self):
        self.assertEqual(self.call("lsblk.py", "list_block_devices"),
                         ["XENAPI_MISSING_PLUGIN", "lsblk.py"])
        self.assertEqual(self.call("smartctl.py", "health"),
                         ["XENAPI_MISSING_PLUGIN", "smartctl.py"])
        self.assertEqual(self.call("zfs.py", "list_zfs_pools"), "{}")
        self.environment["BASALT_RAID_DEVICE"] = "/nowhere"
        self.assertEqual(self.call("raid.py", "check_raid_pool"), "{}")

    def test_guests_find_what_their_agents_are_told(self):
        told = {"VSS/licensed": "1", "Guest_agent_auto_update/licensed": "1",
                "Guest_agent_auto_update/parameters/update_url": "https://there/a b?c=d"}
        self.environment["BASALT_XENSTORE"] = "/nowhere"
        self.assertEqual(self.call("guest_features.py", "write", told), "nobody looks")
        self.environment["BASALT_XENSTORE"] = str(self.bin)
        self.assertEqual(self.call("guest_features.py", "write", told),
                         ["XENAPI_MISSING_PLUGIN", "guest_features.py"])
        self.assertEqual(self.call("guest_features.py", "write", {"../vm": "x"}),
                         ["INVALID_VALUE", "name", "../vm"])
        # A store of a file: what was written, and what others may read of it.
        for tool in ("rm", "write", "chmod"):
            script = self.bin / f"xenstore-{tool}"
            script.write_text(f'#!/bin/sh\necho "{tool}|$1|$2" >> {self.bin}/store\n')
            script.chmod(0o755)
        self.assertEqual(self.call("guest_features.py", "write", told), "written")
        lines = (self.bin / "store").read_text().splitlines()
        self.assertEqual(lines[0], "rm|/guest_agent_features|")
        written = [line.split("|", 2)[1:] for line in lines if line.startswith("write")]
        update = "/guest_agent_features/Guest_agent_auto_update"
        self.assertEqual(written, [
            ["/guest_agent_features", ""], [update, ""], [update + "/licensed", "1"],
            [update + "/parameters", ""], [update + "/parameters/update_url",
                                           "https://there/a b?c=d"],
            ["/guest_agent_features/VSS", ""], ["/guest_agent_features/VSS/licensed", "1"]])
        allowed = [line for line in lines if line.startswith("chmod")]
        self.assertEqual(allowed, [f"chmod|{path}|r0" for path, _ in written])

    def test_a_failure_of_a_tool_is_the_plugins(self):
        self.tool("lsblk", "", 4)
        self.assertEqual(self.call("lsblk.py", "list_block_devices")[:3],
                         ["XENAPI_PLUGIN_FAILURE", "list_block_devices", "RuntimeError"])
        self.assertEqual(self.call("lsblk.py", "fly"), ["UNKNOWN_XENAPI_PLUGIN_FUNCTION", "fly"])

    def test_threads_a_core(self):
        for text, told in (("1\n", "true"), ("0\n", "false")):
            (self.bin / "smt").write_text(text)
            self.environment["BASALT_SMT_FILE"] = str(self.bin / "smt")
            self.assertEqual(self.call("hyperthreading.py", "get_hyperthreading"), told)

    def test_health_of_disks(self):
        script = self.bin / "smartctl"
        script.write_text("""#!/bin/sh
case "$*" in
*--scan*) echo '{"devices":[{"name":"/dev/sda","type":"sat"},{"name":"/dev/sdb"}]}' ;;
*sda*) echo '{"smart_status":{"passed":true}}' ;;
*) echo '{"smart_status":{"passed":false}}'; exit 8 ;;
esac
""")
        script.chmod(0o755)
        self.assertEqual(json.loads(self.call("smartctl.py", "health")),
                         {"/dev/sda": "PASSED", "/dev/sdb": "FAILED"})
        self.assertIn("/dev/sdb", json.loads(self.call("smartctl.py", "information")))

    def test_a_raid_and_its_volumes(self):
        self.tool("mdadm", """/dev/md127:
             State : clean, degraded
     Total Devices : 1

    Number   Major   Minor   RaidDevice State
       0       8        0        0      active sync   /dev/sda
       -       0        0        1      removed""", 1)
        self.environment["BASALT_RAID_DEVICE"] = "/dev/null"
        told = json.loads(self.call("raid.py", "check_raid_pool"))
        self.assertEqual(told["raid"]["State"], "clean, degraded")
        self.assertEqual(told["volumes"], [["0", "8", "0", "0", "active sync", "/dev/sda"]])

    def test_zfs_pools(self):
        self.tool("zfs", "tank\ttype\tfilesystem\t-\ntank\tused\t1M\t-")
        self.assertEqual(json.loads(self.call("zfs.py", "list_zfs_pools")),
                         {"tank": {"type": "filesystem", "used": "1M"}})


if __name__ == "__main__":
    unittest.main()
