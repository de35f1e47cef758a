"""The host as it describes itself, its own console, and its log lines."""

import datetime
import re
import unittest

import lab


class Host(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        (self.host,) = self.api.host.get_all()
        self.dom0 = self.api.host.get_control_domain(self.host)
        self.addCleanup(self.session.xenapi.session.logout)

    def inside(self, *command):
        done = lab.host().inside(*command, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_its_processors_are_those_of_the_machine(self):
        info = self.api.host.get_cpu_info(self.host)
        listed = dict(line.split(":", 1) for line in self.inside("lscpu").splitlines()
                      if ":" in line)
        told = {key.strip(): value.strip() for key, value in listed.items()}
        self.assertEqual(info["threads_per_core"], told["Thread(s) per core"])
        self.assertEqual(info["nr_nodes"], told.get("NUMA node(s)", "1"))
        self.assertEqual(info["vendor"], told["Vendor ID"])
        self.assertRegex(info["features_hvm"], r"^[0-9a-f]{8}(-[0-9a-f]{8}){15}$")
        has_sse2 = bool(int(info["features_hvm"].split("-")[0], 16) >> 26 & 1)
        self.assertEqual(has_sse2, " sse2 " in f" {info['flags']} ")
        (pool,) = self.api.pool.get_all()
        self.assertEqual(self.api.pool.get_cpu_info(pool)["features_hvm_host"],
                         info["features_hvm_host"])

    def test_its_memory_is_that_of_the_machine(self):
        metrics = self.api.host_metrics.get_record(self.api.host.get_metrics(self.host))
        total = int(re.search(r"MemTotal:\s+(\d+) kB", self.inside("cat", "/proc/meminfo"))[1])
        self.assertEqual(int(metrics["memory_total"]), total * 1024)
        dom0 = self.api.VM.get_record(self.dom0)
        self.assertLess(int(dom0["memory_static_max"]), int(metrics["memory_total"]))
        self.assertEqual(self.api.VM_metrics.get_memory_actual(dom0["metrics"]),
                         dom0["memory_static_max"])

    def test_its_local_time_is_that_of_its_zone(self):
        def moment(value):
            return datetime.datetime.strptime(str(value).rstrip("Z"), "%Y%m%dT%H:%M:%S")

        offset = self.inside("date", "+%z").strip()
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        expected = datetime.timedelta(minutes=-minutes if offset[0] == "-" else minutes)
        utc = moment(self.api.host.get_servertime(self.host))
        local = moment(self.api.host.get_server_localtime(self.host))
        self.assertLess(abs(local - utc - expected), datetime.timedelta(seconds=10))

    def test_no_feature_is_restricted(self):
        licence = self.api.host.get_license_params(self.host)
        self.assertEqual({licence[key] for key in licence if key.startswith("restrict_")},
                         {"false"})
        self.assertEqual((licence["platform_filter"], licence["regular_nag_dialog"]),
                         ("false", "false"))

    def test_its_console_is_a_shell_on_it(self):
        console = lab.Console(self.session, self.dom0)
        self.addCleanup(console.close)
        console.wait(r"[#$] ?$", 30)
        console.command("PS1='# '; stty -echo")
        self.assertIn("42", console.command("echo $((6*7)); tty"))
        self.assertEqual(console.command("id -u"), "0")
        self.assertEqual(console.command("ip -o link show eth0 | wc -l"), "1")
        console.close()
        log = lab.host().state / "host1/log/hostd.log"
        lab.wait_until(lambda: "host_console_closed" in log.read_text(), 20, "the shell has ended")

    def test_the_lines_of_a_call_share_its_trace_in_both_daemons(self):
        (template,) = self.api.VM.get_by_name_label("Other install media")
        vm = self.api.VM.clone(template, "trace test")
        self.addCleanup(self.api.VM.destroy, vm)
        self.api.VM.provision(vm)
        task = self.api.Async.VM.start(vm, True, False)
        lab.wait_until(lambda: self.api.task.get_status(task) != "pending", 60, "it has started")
        self.addCleanup(self.api.VM.hard_shutdown, vm)
        self.assertEqual(self.api.task.get_error_info(task), [])
        logs = {name: (lab.host().state / f"host1/log/{name}.log").read_text()
                for name in ("xapi", "hostd")}
        line = re.search(rf" call method=VM\.start .*trace=(\w+) task={task}", logs["xapi"])
        self.assertTrue(line, logs["xapi"][-2000:])
        theirs = [text for text in logs["hostd"].splitlines() if f"trace={line[1]}" in text]
        self.assertTrue([text for text in theirs if "verb=vm_start" in text], theirs)
        strange = [text for text in theirs if "verb=" in text and "vm_start" not in text]
        self.assertEqual(strange, [])


if __name__ == "__main__":
    unittest.main()
