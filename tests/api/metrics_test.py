"""Figures over time, as clients read them: of the host and of a guest that works, checked against
the counters of the kernel, of QEMU's threads and of the guest itself; of members of a pool."""

import json
import math
import re
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from xml.etree import ElementTree

import lab

STEP = 5
ROUND_SECONDS = 12  # by then a step is over, measured and served

# What Xen Orchestra looks for in a legend, by owner.
LEGEND = re.compile(r"^(AVERAGE|MIN|MAX):(host|vm|sr):([0-9a-f-]{36}):(.+)$")
OF_HOST = [r"cpu\d+$", r"loadavg$", r"memory_free_kib$", r"memory_total_kib$",
           r"pif_eth0_rx$", r"pif_eth0_tx$", r"pif_aggr_rx$", r"cpu_avg$"]
OF_GUEST = [r"cpu\d+$", r"memory$", r"vif_0_rx$", r"vif_0_tx$", r"vbd_xvda_read$",
            r"vbd_xvda_write$", r"vbd_xvda_iops_read$", r"vbd_xvda_io_throughput_total$"]


def get(path, session=None, base=None, headers=None, **query):
    """Status and body of a GET."""
    if session:
        query["session_id"] = session._session
    address = f"{base or lab.host().url}{path}?{urllib.parse.urlencode(query, doseq=True)}"
    request = urllib.request.Request(address, headers=headers or {})
    context = lab.ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Updates:
    """An answer of /rrd_updates: columns by owner and name, rows oldest first."""

    def __init__(self, text):
        answer = json.loads(text)
        self.meta = answer["meta"]
        self.step = int(self.meta["step"])
        rows = list(reversed(answer["data"]))
        self.times = [int(row["t"]) for row in rows]
        self.columns = {}
        for number, legend in enumerate(self.meta["legend"]):
            _, _, uuid, name = LEGEND.match(legend).groups()
            self.columns[uuid, name] = [float(row["values"][number]) for row in rows]

    def names(self, uuid):
        return {name for owner, name in self.columns if owner == uuid}

    def last(self, uuid, name):
        known = [value for value in self.columns[uuid, name] if not math.isnan(value)]
        return known[-1]

    def total(self, uuid, name, begin, end):
        """What a rate adds up to between two times."""
        return sum(value * self.step
                   for moment, value in zip(self.times, self.columns[uuid, name])
                   if begin < moment <= end and not math.isnan(value))


def updates(session, seconds=300, **query):
    status, text = get("/rrd_updates", session, start=-seconds, json="true", **query)
    assert status == 200, (status, text)
    return Updates(text)


class HostFigures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lab.host()
        cls.session = lab.login()
        cls.api = cls.session.xenapi
        (cls.host,) = cls.api.host.get_all()
        cls.uuid = cls.api.host.get_uuid(cls.host)
        lab.wait_until(lambda: (cls.uuid, "cpu0") in updates(cls.session, host="true").columns
                       and not math.isnan(updates(cls.session, host="true")
                                          .columns[cls.uuid, "cpu0"][-1]),
                       60, "the host is measured")

    def inside(self, *command):
        return lab.host().inside(*command, capture_output=True).stdout

    def test_what_clients_look_for_is_there(self):
        answer = updates(self.session, host="true")
        for pattern in OF_HOST:
            with self.subTest(pattern):
                self.assertTrue(any(re.match(pattern, name) for name in answer.names(self.uuid)))
        cpus = int(self.api.host.get_cpu_info(self.host)["cpu_count"])
        self.assertEqual(sum(bool(re.match(r"cpu\d+$", name))
                             for name in answer.names(self.uuid)), cpus)
        self.assertEqual(int(answer.meta["rows"]), len(answer.times))
        self.assertEqual(int(answer.meta["columns"]), len(answer.meta["legend"]))
        self.assertEqual(int(answer.meta["end"]), answer.times[-1])
        self.assertEqual(int(answer.meta["start"]), answer.times[0])

    def test_memory_is_that_of_the_kernel(self):
        answer = updates(self.session, host="true")
        meminfo = dict(re.findall(r"(\w+):\s+(\d+) kB", self.inside("cat", "/proc/meminfo")))
        self.assertEqual(answer.last(self.uuid, "memory_total_kib"), int(meminfo["MemTotal"]))
        free = answer.last(self.uuid, "memory_free_kib")
        self.assertLess(abs(free - int(meminfo["MemAvailable"])), int(meminfo["MemTotal"]) / 4)
        metrics = self.api.host_metrics.get_record(self.api.host.get_metrics(self.host))
        self.assertLessEqual(int(metrics["memory_free"]), int(metrics["memory_total"]))

    def test_processors_are_as_busy_as_the_kernel_says(self):
        def busy():
            line = self.inside("head", "-n1", "/proc/stat").split()
            ticks = [int(word) for word in line[1:9]]
            return time.time(), sum(ticks) - ticks[3] - ticks[4], sum(ticks)

        begin, busy_before, all_before = busy()
        time.sleep(31)
        end, busy_after, all_after = busy()
        time.sleep(ROUND_SECONDS)
        share = (busy_after - busy_before) / (all_after - all_before)
        answer = updates(self.session, host="true")
        rows = sum(begin < moment <= end for moment in answer.times)
        measured = answer.total(self.uuid, "cpu_avg", begin, end) / (rows * STEP)
        lab.say(f"processors were busy {share:.2f} of the time; measured {measured:.2f}")
        # The ends of the two spans lie up to a step apart.
        self.assertAlmostEqual(measured, share, delta=0.2)

    def test_each_interval_is_answered_by_rows_of_its_length(self):
        """As Xen Orchestra asks: an answer of another length is an error there."""
        for interval, rows in ((5, 120), (60, 120), (3600, 168), (86400, 366)):
            with self.subTest(interval):
                answer = updates(self.session, seconds=interval * rows - interval, host="true",
                                 interval=interval, cf="AVERAGE")
                self.assertEqual(answer.step, interval)
                self.assertLessEqual(len(answer.times), rows)

    def test_xml_says_what_json_says(self):
        start = int(time.time()) - 60
        status, text = get("/rrd_updates", self.session, start=start, host="true", cf="AVERAGE")
        self.assertEqual(status, 200)
        root = ElementTree.fromstring(text)
        self.assertEqual(root.tag, "xport")
        legend = [entry.text for entry in root.findall("meta/legend/entry")]
        self.assertEqual(int(root.findtext("meta/columns")), len(legend))
        rows = root.findall("data/row")
        self.assertEqual(int(root.findtext("meta/rows")), len(rows))
        times = [int(row.findtext("t")) for row in rows]
        self.assertEqual(times, sorted(times, reverse=True))
        self.assertTrue(all(len(row.findall("v")) == len(legend) for row in rows))
        accepted = {"Accept": "application/json"}
        _, as_json = get("/rrd_updates", self.session, headers=accepted, start=start, host="true")
        self.assertEqual(json.loads(as_json)["meta"]["legend"], legend)

    def test_the_whole_is_there_in_both_forms(self):
        for path in ("/host_rrd", "/host_rrds"):
            status, text = get(path, self.session)
            self.assertEqual(status, 200)
        root = ElementTree.fromstring(text)
        self.assertEqual(root.findtext("version"), "0003")
        names = [ds.findtext("name") for ds in root.findall("ds")]
        self.assertIn("cpu_avg", names)
        self.assertEqual([len(rra.findall("database/row")) for rra in root.findall("rra")],
                         [120, 120, 168, 366])
        whole = json.loads(get("/host_rrd", self.session, json="true")[1])
        self.assertEqual([ds["name"] for ds in whole["ds"]], names)
        self.assertEqual(len(whole["rra"][0]["database"][-1]), len(names))

    def test_who_asks_must_be_known_and_ask_properly(self):
        self.assertEqual(get("/rrd_updates", start=0)[0], 401)
        self.assertEqual(get("/rrd_updates", start=0, session_id="OpaqueRef:NULL")[0], 401)
        self.assertEqual(get("/rrd_updates", self.session)[0], 400)
        self.assertEqual(get("/rrd_updates", self.session, start="soon")[0], 400)
        self.assertEqual(get("/rrd_updates", self.session, start=0, cf="MEDIAN")[0], 400)
        nobody = "00000000-0000-4000-8000-000000000000"
        self.assertEqual(get("/vm_rrd", self.session, uuid=nobody)[0], 404)
        self.assertEqual(get("/vm_rrd", self.session)[0], 400)

    def test_data_sources_are_recorded_and_forgotten(self):
        sources = {row["name_label"]: row for row in self.api.host.get_data_sources(self.host)}
        self.assertEqual(sources["memory_total_kib"]["units"], "KiB")
        self.assertTrue(sources["cpu0"]["enabled"] and sources["cpu0"]["standard"])
        name = "pif_eth0_rx_errors"
        self.assertFalse(sources[name]["standard"])
        self.api.host.record_data_source(self.host, name)
        self.addCleanup(self.api.host.forget_data_source_archives, self.host, name)
        lab.wait_until(lambda: name in updates(self.session, host="true").names(self.uuid),
                       2 * ROUND_SECONDS, "the source is recorded")
        self.assertEqual(self.api.host.query_data_source(self.host, name), 0)
        self.assertEqual(self.api.host.query_data_source(self.host, "memory_total_kib"),
                         sources["memory_total_kib"]["value"])
        self.api.host.forget_data_source_archives(self.host, name)
        self.assertNotIn(name, updates(self.session, host="true").names(self.uuid))
        with self.assertRaisesRegex(Exception, "INVALID_VALUE"):
            self.api.host.record_data_source(self.host, "no_such_source")
        listed = lab.host().xe("host-data-source-list").stdout
        self.assertRegex(listed, r"name_label *: cpu_avg\n")
        self.assertRegex(listed, r"max: inf\n")
        asked = lab.host().xe("host-data-source-query", "data-source=memory_total_kib").stdout
        self.assertEqual(float(asked), sources["memory_total_kib"]["value"])

    def alarms(self):
        return [record["body"] for record in self.api.message.get_all_records().values()
                if record["name"] == "ALARM" and record["obj_uuid"] == self.uuid]

    def test_an_alarm_is_told(self):
        self.api.host.add_to_other_config(self.host, "perfmon", """<config><variable>
            <name value="memory_total_kib"/><alarm_trigger_level value="1000"/>
            </variable></config>""")
        self.addCleanup(self.api.host.remove_from_other_config, self.host, "perfmon")
        lab.wait_until(self.alarms, 90, "an alarm")
        value, config, text = self.alarms()[0].split("\n", 2)
        total = float(self.api.host.query_data_source(self.host, "memory_total_kib"))
        self.assertEqual(config, "config:")
        self.assertAlmostEqual(float(value.removeprefix("value: ")), total, delta=total / 1000)
        variable = ElementTree.fromstring(text)
        self.assertEqual(variable.find("name").get("value"), "memory_total_kib")
        self.assertEqual(len(self.alarms()), 1)

    def test_what_the_server_has_of_the_machine_is_recorded(self):
        def known():
            value = self.api.host.query_data_source(self.host, "xapi_open_fds")
            return not math.isnan(float(value))
        names = {source["name_label"] for source in self.api.host.get_data_sources(self.host)}
        self.assertLessEqual({"hostload", "running_vcpus"}, names)
        lab.wait_until(lambda: "xapi_open_fds" in {
            source["name_label"] for source in self.api.host.get_data_sources(self.host)}, 60,
            "xapi has told of itself")
        self.assertTrue(known())
        fds = float(self.api.host.query_data_source(self.host, "xapi_open_fds"))
        pid = lab.host().status()["host1.xapi"][0]
        counted = int(lab.host().inside("sh", "-c", f"ls /proc/{pid}/fd | wc -l",
                                        capture_output=True).stdout)
        self.assertAlmostEqual(fds, counted, delta=20)
        self.assertGreater(float(self.api.host.query_data_source(self.host, "pool_session_count")),
                           0)

    def test_storage_is_measured(self):
        (sr,) = self.api.SR.get_by_name_label("Local storage")
        uuid = self.api.SR.get_uuid(sr)
        self.api.SR.scan(sr)
        size = int(self.api.SR.get_physical_size(sr))
        lab.wait_until(lambda: "size" in updates(self.session, sr_uuid=uuid).names(uuid), 30,
                       "the repository is measured")
        self.assertEqual(updates(self.session, sr_uuid=uuid).last(uuid, "size"), size)
        self.assertEqual(self.api.SR.query_data_source(sr, "size"), size)
        status, text = get("/sr_rrd", self.session, uuid=uuid)
        self.assertEqual(status, 200)
        self.assertIn("physical_utilisation", text)

    def test_figures_outlive_both_daemons(self):
        before = updates(self.session, host="true")
        self.api.host.backup_rrds(self.host, 0.0)  # of what came later, rows are made anew
        for daemon in ("hostd", "xapi"):
            lab.host().kill(daemon)

        def again():
            try:
                session = lab.login()
                answer = updates(session, host="true")
            except Exception:  # it starts
                return None
            now = answer.columns.get((self.uuid, "cpu_avg"), [])
            return answer if now and answer.times[-1] > before.times[-1] + 2 * STEP else None

        after = lab.wait_until(again, 90, "the host is measured again")
        type(self).session = lab.login()
        type(self).api = self.session.xenapi
        (type(self).host,) = self.api.host.get_all()
        kept = dict(zip(after.times, after.columns[self.uuid, "cpu_avg"]))
        for moment, value in zip(before.times, before.columns[self.uuid, "cpu_avg"]):
            if not math.isnan(value) and moment in kept:
                self.assertAlmostEqual(kept[moment], value, places=9)
        # Counters went on counting: there is no gap.
        self.assertFalse([moment for moment, value in kept.items()
                          if before.times[-1] < moment <= after.times[-1] and math.isnan(value)])


class GuestFigures(unittest.TestCase):
    """A guest that first idles, then works, then idles: what it did is between the two."""

    @classmethod
    def setUpClass(cls):
        lab.host()
        cls.session = lab.login()
        cls.api = cls.session.xenapi
        cls.vm = cls.api.VM.clone(lab.template(cls.session), "measured guest")
        cls.api.VM.provision(cls.vm)
        cls.api.VM.start(cls.vm, False, False)
        cls.uuid = cls.api.VM.get_uuid(cls.vm)
        cls.console = lab.Console(cls.session, cls.vm)
        cls.console.prompt(180)
        cls.console.command("stty -echo; dmesg -n 1; export TERM=dumb")

    @classmethod
    def tearDownClass(cls):
        cls.console.close()
        if cls.api.VM.get_power_state(cls.vm) != "Halted":
            cls.api.VM.hard_shutdown(cls.vm)
        cls.api.VM.destroy(cls.vm)

    def idle(self):
        time.sleep(ROUND_SECONDS)

    def updates(self):
        return updates(self.session, vm_uuid=self.uuid)

    def processor_seconds(self):
        """That QEMU's thread of the first virtual processor has run, by the kernel."""
        told = lab.host().inside(
            "sh", "-c", f"for p in $(pgrep -f '[u]uid {self.uuid}'); do for t in /proc/$p/task/*; "
            "do echo $(cat $t/comm | tr ' ' _) $(cat $t/schedstat); done; done",
            capture_output=True).stdout
        return sum(int(line.split()[1]) for line in told.splitlines()
                   if re.match(r"(CPU_0/|ALL_CPUs/)", line)) / 1e9

    def test_1_what_clients_look_for_is_there(self):
        names = lab.wait_until(
            lambda: self.updates().names(self.uuid)
            if (self.uuid, "vif_0_tx") in self.updates().columns else None, 30, "it is measured")
        for pattern in OF_GUEST:
            with self.subTest(pattern):
                self.assertTrue(any(re.match(pattern, name) for name in names))
        self.assertEqual(self.updates().last(self.uuid, "memory"),
                         int(self.api.VM.get_memory_target(self.vm)))
        sources = {row["name_label"]: row for row in self.api.VM.get_data_sources(self.vm)}
        self.assertEqual(sources["cpu0"]["max"], 1)
        self.assertEqual(sources["vbd_xvda_read_latency"]["units"], "μs")

    def test_2_a_busy_processor_is_measured_as_the_kernel_measures_it(self):
        self.idle()
        begin, before = time.time(), self.processor_seconds()
        self.console.command("timeout 20 sh -c 'while :; do :; done'; echo done", 60)
        self.idle()
        end, after = time.time(), self.processor_seconds()
        self.idle()
        measured = self.updates().total(self.uuid, "cpu0", begin, end)
        lab.say(f"the processor ran {after - before:.1f} s; measured {measured:.1f} s")
        self.assertGreater(after - before, 3)
        # A round is five seconds long, and the first and last are counted in part.
        self.assertAlmostEqual(measured, after - before, delta=max(5, 0.15 * (after - before)))
        metrics = self.api.VM_metrics.get_record(self.api.VM.get_metrics(self.vm))
        self.assertIn("0", metrics["VCPUs_utilisation"])
        self.assertEqual(metrics["memory_actual"], self.api.VM.get_memory_target(self.vm))

    def test_3_bytes_of_disk_and_network_are_those_that_the_guest_counts(self):
        def counters():
            told = self.console.command(
                "sync; cat /sys/block/vda/stat /sys/class/net/e*/statistics/tx_bytes")
            numbers = [int(word) for word in re.findall(r"\d+", told)]
            return numbers[2] * 512, numbers[-1]

        self.idle()
        begin, (read_before, sent_before) = time.time(), counters()
        self.console.command("dd if=/dev/vda of=/dev/null bs=64k count=512 iflag=direct; "
                             "ping -q -c 20 -i 0.2 -s 1400 10.71.0.1 >/dev/null; echo done", 90)
        self.idle()
        end, (read_after, sent_after) = time.time(), counters()
        self.idle()
        answer = self.updates()
        read, sent = read_after - read_before, sent_after - sent_before
        measured = answer.total(self.uuid, "vbd_xvda_read", begin, end)
        lab.say(f"the guest read {read} bytes, measured {measured:.0f}; "
                f"sent {sent}, measured {answer.total(self.uuid, 'vif_0_tx', begin, end):.0f}")
        self.assertGreaterEqual(read, 32 << 20)
        self.assertAlmostEqual(measured, read, delta=read * 0.05)
        self.assertGreater(sent, 20 * 1400)
        self.assertAlmostEqual(answer.total(self.uuid, "vif_0_tx", begin, end), sent,
                               delta=sent * 0.2)
        mib = answer.total(self.uuid, "vbd_xvda_io_throughput_read", begin, end)
        self.assertAlmostEqual(mib, measured / (1 << 20), delta=0.01 * mib)

    def test_4_its_past_rests_while_it_is_halted(self):
        self.api.VM.hard_shutdown(self.vm)
        time.sleep(ROUND_SECONDS)
        self.assertEqual(self.updates().names(self.uuid), set())
        status, text = get("/vm_rrd", self.session, uuid=self.uuid, json="true")
        self.assertEqual(status, 200)
        whole = json.loads(text)
        cpu = [ds["name"] for ds in whole["ds"]].index("cpu0")
        rows = [float(row[cpu]) for row in whole["rra"][0]["database"]]
        self.assertTrue(any(value > 0 for value in rows))
        with self.assertRaisesRegex(Exception, "VM_BAD_POWER_STATE"):
            self.api.VM.query_data_source(self.vm, "cpu0")


FETCH = """
import json, ssl, urllib.request
def fetch(address, path):
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(f"https://{address}{path}", context=context) as answer:
            return answer.status, answer.read().decode(), answer.url
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), ""
"""


class MemberFigures(unittest.TestCase):
    """Each host serves its own; the simulated ones behind real members say what can be foretold."""

    @classmethod
    def setUpClass(cls):
        cls.pool = lab.pool()
        cls.session = lab.login(cls.pool)
        cls.api = cls.session.xenapi
        cls.uuid = (cls.pool.state / "host2/uuid").read_text().strip()
        cls.address = cls.api.host.get_address(cls.api.host.get_by_uuid(cls.uuid))

    def fetch(self, address, path):
        """From inside, where the hosts have their addresses."""
        return self.pool.python(1, f"{FETCH}\ntell(fetch({address!r}, {path!r}))")

    def test_a_member_serves_its_own_figures(self):
        path = f"/rrd_updates?start=-60&host=true&json=1&session_id={self.session._session}"

        def measured():
            status, text, _ = self.fetch(self.address, path)
            self.assertEqual(status, 200, text)
            answer = Updates(text)
            known = answer.columns.get((self.uuid, "cpu1"), [])
            return answer if known and not math.isnan(known[-1]) else None

        answer = lab.wait_until(measured, 60, "the member measures its host")
        self.assertEqual({uuid for uuid, _ in answer.columns}, {self.uuid})
        self.assertAlmostEqual(answer.last(self.uuid, "cpu1"), 0.2, places=6)
        self.assertAlmostEqual(answer.last(self.uuid, "pif_eth0_rx"), 1e6, delta=1)
        self.assertEqual(self.fetch(self.address, "/rrd_updates?start=0")[0], 401)
        self.assertEqual(self.fetch(self.address, "/host_rrd?pool_secret=wrong")[0], 401)

    def test_a_member_s_sources_are_asked_of_the_coordinator(self):
        host = self.api.host.get_by_uuid(self.uuid)
        lab.wait_until(lambda: self.api.host.get_data_sources(host), 30, "it is measured")
        lab.wait_until(lambda: not math.isnan(self.api.host.query_data_source(host, "cpu0")), 30,
                       "its second round")
        self.assertAlmostEqual(self.api.host.query_data_source(host, "cpu0"), 0.1, places=3)

    def test_a_vm_unknown_to_a_member_is_the_coordinator_s(self):
        nobody = "00000000-0000-4000-8000-000000000000"
        status, _, _ = self.fetch(
            self.address, f"/vm_rrd?uuid={nobody}&session_id={self.session._session}")
        self.assertEqual(status, 404)

    def test_the_past_of_a_guest_rests_with_the_coordinator(self):
        host = self.api.host.get_by_uuid(self.uuid)
        (template,) = self.api.VM.get_by_name_label("Other install media")
        vm = self.api.VM.clone(template, "guest with a past")
        self.addCleanup(self.api.VM.destroy, vm)
        self.api.VM.provision(vm)
        self.api.VM.start_on(vm, host, False, False)
        uuid = self.api.VM.get_uuid(vm)
        path = f"/vm_rrd?uuid={uuid}&json=1&session_id={self.session._session}"
        coordinator = self.api.host.get_address(self.api.pool.get_all_records().popitem()[1]
                                                ["master"])

        def past(address):
            """Rows of cpu0, from wherever the request led to that address."""
            status, text, url = self.fetch(coordinator, path)
            if status != 200 or f"//{address}/" not in url:
                return None
            whole = json.loads(text)
            names = [ds["name"] for ds in whole["ds"]]
            if "cpu0" not in names:
                return None
            rows = [float(row[names.index("cpu0")]) for row in whole["rra"][0]["database"]]
            known = [value for value in rows if not math.isnan(value)]
            return known if len(known) >= 6 else None

        lab.wait_until(lambda: past(self.address), 90, "the member measures its guest")
        self.api.VM.hard_shutdown(vm)
        known = lab.wait_until(lambda: past(coordinator), 90, "its past has come to rest")
        self.assertAlmostEqual(known[-2], 0.25, places=2)


if __name__ == "__main__":
    unittest.main()
