"""The database, dumped, restored and looked after from the command line."""

import json
import ssl
import unittest
import urllib.error
import urllib.request

import lab

FOLDER = "/tmp/database-test"
XAPI = "/opt/basalt/bin/xapi"
# Rows that live and die with the process, and what a start writes anew.
PASSING = {"task", "session", "event", "blob", "user"}


class Database(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = lab.host()
        cls.inside("rm", "-rf", FOLDER)
        cls.inside("mkdir", "-p", FOLDER)

    @classmethod
    def inside(cls, *command):
        done = cls.host.inside(*command, capture_output=True)
        if done.returncode != 0:
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def xe(self, *arguments):
        done = self.host.xe(*arguments)
        self.assertEqual(done.returncode, 0, f"xe {arguments}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def refused(self, *arguments):
        done = self.host.xe(*arguments)
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stderr

    def records(self):
        """All records of all classes, without what changes by itself."""
        session = lab.login()
        try:
            out = {}
            for cls in classes():
                if cls in PASSING:
                    continue
                try:
                    rows = getattr(session.xenapi, cls).get_all_records()
                except lab.xenapi_module().Failure as refused:
                    self.assertEqual(refused.details[0], "MESSAGE_REMOVED", cls)
                    continue
                out[cls] = {ref: steady(cls, row) for ref, row in rows.items()}
            return out
        finally:
            session.xenapi.session.logout()

    def restart_after(self, act):
        starts = self.host.status()["host1.xapi"][1]
        act()
        lab.wait_until(lambda: self.host.status()["host1.xapi"][1] > starts, 30,
                       "xapi is started again")
        lab.wait_until(self.is_ready, 60, "xapi serves again")

    def is_ready(self):
        try:
            session = lab.login()
            enabled = all(session.xenapi.host.get_enabled(host)
                          for host in session.xenapi.host.get_all())
            session.xenapi.session.logout()
            return enabled
        except Exception:  # whatever a server that just starts answers
            return False

    def test_a_restore_brings_the_same_records(self):
        vm = self.xe("vm-clone", f"vm={lab.TEMPLATE}", "new-name-label=dumped <&\"> vm")
        # What a restart forgets (metrics, most of all), a restore need not bring.
        self.restart_after(lambda: self.host.kill("xapi"))
        before = self.records()
        self.xe("pool-dump-database", f"file-name={FOLDER}/dump.xml")
        self.assertIn("<database format=", self.inside("head", "-c", "200", f"{FOLDER}/dump.xml"))

        # Everything that happens now is forgotten by the restore.
        self.xe("vm-param-set", f"uuid={vm}", "name-label=later")
        made = self.xe("network-create", "name-label=later")
        pool = self.xe("pool-list", "--minimal")
        self.xe("pool-param-set", f"uuid={pool}", "name-description=later")

        self.xe("pool-restore-database", f"file-name={FOLDER}/dump.xml", "dry-run=true")
        self.assertEqual(self.xe("vm-param-get", f"uuid={vm}", "param-name=name-label"), "later")

        self.restart_after(
            lambda: self.xe("pool-restore-database", f"file-name={FOLDER}/dump.xml"))
        self.maxDiff = None
        after = self.records()
        self.assertEqual(after.keys(), before.keys())
        for cls, rows in before.items():
            self.assertEqual(after[cls], rows, cls)
        self.assertEqual(self.xe("network-list", f"uuid={made}", "--minimal"), "")
        self.xe("template-uninstall", f"template-uuid={vm}", "force=true")

    def test_what_is_no_dump_is_refused_and_changes_nothing(self):
        self.inside("sh", "-c", f"""
            echo '<html/>' > {FOLDER}/page; : > {FOLDER}/empty""")
        self.xe("pool-dump-database", f"file-name={FOLDER}/good.xml")
        uuid = (self.host.state / "host1/uuid").read_text().strip()
        self.inside("sh", "-c", f"""cd {FOLDER}
            head -c 3000 good.xml > half
            sed 's/schema="[0-9]*"/schema="999"/' good.xml > newer
            sed "s/{uuid}/00000000-0000-4000-8000-000000000000/g" good.xml > strange""")
        starts = self.host.status()["host1.xapi"][1]
        for name, code in (("page", "COULD_NOT_IMPORT_DATABASE"),
                           ("empty", "COULD_NOT_IMPORT_DATABASE"),
                           ("half", "COULD_NOT_IMPORT_DATABASE"),
                           ("newer", "RESTORE_INCOMPATIBLE_VERSION"),
                           ("strange", "RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP")):
            for dry in ("true", "false"):
                with self.subTest(name, dry_run=dry):
                    said = self.refused("pool-restore-database", f"file-name={FOLDER}/{name}",
                                        f"dry-run={dry}")
                    self.assertIn(code.replace("_", " ").lower(), said)  # as xe says it
        self.assertEqual(self.host.status()["host1.xapi"][1], starts)
        self.assertEqual(self.inside("sh", "-c", f"ls {self.store()}.* | grep -c scratch || true"),
                         "0\n")

    def test_a_backup_makes_the_host_what_it_was(self):
        pool = self.xe("pool-list", "--minimal")
        host = self.xe("host-list", "--minimal")
        self.xe("pool-param-set", f"uuid={pool}", "name-description=backed up")
        session = lab.login()
        blob = session.xenapi.host.create_new_blob(
            session.xenapi.host.get_by_uuid(host), "notes", "text/plain", False)
        uuid = session.xenapi.blob.get_uuid(blob)
        self.inside("sh", "-c", f"echo kept > {FOLDER}/notes")
        self.xe("blob-put", f"uuid={uuid}", f"filename={FOLDER}/notes")
        self.xe("host-backup", f"file-name={FOLDER}/host.tar", f"host={host}")
        names = self.inside("tar", "-tf", f"{FOLDER}/host.tar").split()
        self.assertEqual(names[:2], ["backup.json", "database.xml"])
        self.assertIn("certificate.pem", names)
        self.assertIn(f"files/blobs/{uuid}", names)

        self.xe("pool-param-set", f"uuid={pool}", "name-description=later")
        session.xenapi.blob.destroy(blob)
        self.restart_after(
            lambda: self.xe("host-restore", f"file-name={FOLDER}/host.tar", f"host={host}"))
        self.assertEqual(self.xe("pool-param-get", f"uuid={pool}", "param-name=name-description"),
                         "backed up")
        self.xe("blob-get", f"uuid={uuid}", f"filename={FOLDER}/again")
        self.assertEqual(self.inside("cat", f"{FOLDER}/again"), "kept\n")
        self.xe("pool-param-set", f"uuid={pool}", "name-description=")

    def test_what_is_no_backup_changes_nothing(self):
        host = self.xe("host-list", "--minimal")
        self.xe("host-backup", f"file-name={FOLDER}/good.tar", f"host={host}")
        self.inside("sh", "-c", f"""cd {FOLDER} && rm -rf t && mkdir t && cd t &&
            tar -xf ../good.tar && tar -cf ../nothing.tar certificate.pem &&
            tar -cf ../bare.tar backup.json &&
            sed 's/{host}/00000000-0000-4000-8000-000000000000/' backup.json > x &&
            tar --transform 's,^x$,backup.json,' -cf ../strange.tar x database.xml &&
            mkdir -p files/blobs && echo > files/blobs/y &&
            tar -P --transform 's,files/blobs/y,files/blobs/../../y,' -cf ../outside.tar \
                backup.json database.xml files/blobs/y""")
        starts = self.host.status()["host1.xapi"][1]
        for name, code in (("nothing", "RESTORE_SCRIPT_FAILED"), ("bare", "RESTORE_SCRIPT_FAILED"),
                           ("strange", "RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP"),
                           ("outside", "RESTORE_SCRIPT_FAILED")):
            with self.subTest(name):
                said = self.refused("host-restore", f"file-name={FOLDER}/{name}.tar",
                                    f"host={host}")
                self.assertIn(code.replace("_", " ").lower(), said)
        self.assertEqual(self.host.status()["host1.xapi"][1], starts)

    def test_a_session_looks_at_the_database_of_a_file(self):
        old = self.xe("network-create", "name-label=in the dump")
        dump = f"{FOLDER}/looked-at.xml"
        self.xe("pool-dump-database", f"file-name={dump}")
        self.xe("network-param-set", f"uuid={old}", "name-label=changed since")
        module = lab.xenapi_module()
        root = lab.login()
        with self.assertRaises(module.Failure) as refused:
            root.xenapi.session.create_from_db_file(dump)  # xe wrote it for root's eyes only
        self.assertIn("Permission denied", str(refused.exception.details))
        self.inside("chmod", "0644", dump)
        self.inside("chmod", "0711", FOLDER)
        with self.assertRaises(module.Failure) as refused:
            root.xenapi.session.create_from_db_file(f"{FOLDER}/none.xml")
        self.assertEqual(refused.exception.details[0], "INTERNAL_ERROR")

        file = root.xenapi.session.create_from_db_file(dump)
        raw = lab.Raw()
        ref = raw.call("network.get_by_uuid", file, old)["Value"]
        self.assertEqual(raw.call("network.get_name_label", file, ref)["Value"], "in the dump")
        self.assertIn(ref, raw.call("network.get_all_records", file)["Value"])
        self.assertEqual(root.xenapi.network.get_name_label(ref), "changed since")
        for call in (("network.set_name_label", file, ref, "x"), ("network.destroy", file, ref),
                     ("Async.VM.pause", file, ref), ("event.from", file, ["*"], "", 1.0)):
            with self.subTest(call[0]):
                said = raw.call(*call)
                self.assertEqual(said["ErrorDescription"][0], "RBAC_PERMISSION_DENIED", said)
        raw.call("session.logout", file)
        self.assertEqual(raw.call("network.get_all", file)["ErrorDescription"][0],
                         "SESSION_INVALID")

        several = [root.xenapi.session.create_from_db_file(dump) for _ in range(5)]
        answers = [raw.call("network.get_all", one)["Status"] for one in several]
        self.assertEqual(answers, ["Failure"] + ["Success"] * 4)
        for one in several[1:]:
            raw.call("session.logout", one)
        self.xe("network-destroy", f"uuid={old}")
        root.xenapi.session.logout()

    def names_in(self, api, disk):
        """Of the networks in the copy of the database on the disk."""
        session = api.VDI.open_database(disk)
        raw = lab.Raw()
        rows = raw.call("network.get_all_records", session)["Value"]
        raw.call("session.logout", session)
        return {row["name_label"] for row in rows.values()}

    def test_a_copy_on_a_disk_outlives_the_records(self):
        session = lab.login()
        api = session.xenapi
        (pool, pool_row), = api.pool.get_all_records().items()
        (sr,) = api.SR.get_by_name_label("Local storage")
        first = self.xe("network-create", "name-label=copied at first")
        second = None
        self.xe("sr-enable-database-replication", f"uuid={api.SR.get_uuid(sr)}")
        (disk,) = api.pool.get_metadata_VDIs(pool)
        uuid = api.VDI.get_uuid(disk)
        try:
            self.assertTrue(api.VDI.get_metadata_latest(disk))
            self.assertIn("copied at first", self.names_in(api, disk))
            second = self.xe("network-create", "name-label=copied later")
            lab.wait_until(lambda: "copied later" in self.names_in(api, disk), 60,
                           "the copy has what came later")
            with self.assertRaises(lab.xenapi_module().Failure) as refused:
                api.VDI.destroy(disk)
            self.assertEqual(refused.exception.details[0], "VDI_IN_USE")

            # Another pool, which has no record of the disk: it finds what the disk is for on it.
            api.VDI.set_metadata_of_pool(disk, "OpaqueRef:NULL")
            api.VDI.forget(disk)
            api.SR.scan(sr)
            disk = api.VDI.get_by_uuid(uuid)
            self.assertEqual(api.VDI.get_type(disk), "metadata")
            self.assertEqual(api.VDI.read_database_pool_uuid(disk), pool_row["uuid"])
            self.assertIn("copied later", self.names_in(api, disk))
        finally:
            for network in (first, second):
                if network:
                    self.xe("network-destroy", f"uuid={network}")
            api.SR.disable_database_replication(sr)
            if uuid in {row["uuid"] for row in api.VDI.get_all_records().values()}:
                api.VDI.destroy(disk)
        session.xenapi.session.logout()

    def test_the_redo_log_is_a_copy_of_its_own(self):
        session = lab.login()
        api = session.xenapi
        (pool,) = api.pool.get_all()
        (sr,) = api.SR.get_by_name_label("Local storage")
        self.xe("pool-enable-redo-log", f"sr-uuid={api.SR.get_uuid(sr)}")
        log = api.pool.get_redo_log_vdi(pool)
        self.assertEqual((api.pool.get_redo_log_enabled(pool), api.VDI.get_type(log)),
                         (True, "redo_log"))
        self.xe("pool-disable-redo-log")
        self.assertFalse(api.pool.get_redo_log_enabled(pool))
        api.VDI.destroy(log)
        session.xenapi.session.logout()

    def test_who_may_not_gets_no_database(self):
        request = urllib.request.Request(f"{self.host.url}/pool/xmldbdump")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=30)
        self.assertEqual(refused.exception.code, 401)
        refused.exception.close()

    def test_the_store_is_looked_after_by_the_program_itself(self):
        tool = [XAPI, "--config", self.config(), "store"]
        checked = self.inside(*tool, "check")
        self.assertRegex(checked, r"version \d+ epoch \d+")
        self.assertRegex(checked, r"\d+ VM\n")
        self.inside(*tool, "backup", f"{FOLDER}/copy.db")
        self.inside(*tool, "dump", f"{FOLDER}/offline.xml")
        self.assertIn(" host\n", self.inside(*tool, "restore", f"{FOLDER}/offline.xml", "--dry-run"))
        done = self.host.inside(*tool, "migrate", capture_output=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("open in another process", done.stderr)

        # The copy is a store like any other, for a server that has it as its own.
        self.inside("sh", "-c", f"""
            sed 's|^store *=.*|store = "{FOLDER}/copy.db"|' {self.config()} > {FOLDER}/copy.toml""")
        other = [XAPI, "--config", f"{FOLDER}/copy.toml", "store"]
        self.assertEqual(self.inside(*other, "migrate"), "up to date\n")
        self.assertEqual(self.inside(*other, "check").splitlines()[1:], checked.splitlines()[1:])
        self.inside("sh", "-c", f"echo rubbish > {FOLDER}/copy.db")
        self.assertEqual(self.host.inside(*other, "check", capture_output=True).returncode, 1)

    def test_an_old_store_is_brought_up_to_date(self):
        script = (lab.SOURCE / "xapi/db/store/testdata/store_v1.sql").read_text()
        made = self.host.inside("sqlite3", f"{FOLDER}/old.db", input=script, capture_output=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        self.inside("sh", "-c", f"""
            sed 's|^store *=.*|store = "{FOLDER}/old.db"|' {self.config()} > {FOLDER}/old.toml""")
        tool = [XAPI, "--config", f"{FOLDER}/old.toml", "store"]
        self.assertRegex(self.inside(*tool, "check"), r"^version 1 .*\n +2 VM\n$")
        self.assertRegex(self.inside(*tool, "migrate"), r"^migrated; .*old\.db\.v1\n$")
        self.assertRegex(self.inside(*tool, "check"), r"^version [2-9] .*\n +2 VM\n$")
        self.assertIn("second", self.inside("cat", self.dumped(tool)))

    def dumped(self, tool):
        self.inside(*tool, "dump", f"{FOLDER}/old.xml")
        return f"{FOLDER}/old.xml"

    def config(self):
        return self.daemon_words()[self.daemon_words().index("--config") + 1]

    def daemon_words(self):
        pid = self.host.status()["host1.xapi"][0]
        return self.inside("cat", f"/proc/{pid}/cmdline").split("\0")

    def store(self):
        return self.inside("sed", "-n", 's/^store *= *"\\(.*\\)"/\\1/p', self.config()).strip()


class Pool(unittest.TestCase):
    def test_a_pool_is_restored_while_its_members_run_on(self):
        pool = lab.pool()
        file = "/tmp/pool.xml"

        def xe(*arguments, number=1):
            done = pool.xe(*arguments, number=number)
            self.assertEqual(done.returncode, 0, f"xe {arguments}: {done.stdout}{done.stderr}")
            return done.stdout.strip()

        def whole():
            try:
                session = lab.login(pool)
                api = session.xenapi
                live = sum(api.host_metrics.get_live(row["metrics"]) and row["enabled"]
                           for row in api.host.get_all_records().values())
                api.session.logout()
                return live == 3
            except Exception:  # whatever a server that just starts answers
                return False

        pool.inside("rm", "-f", file)
        xe("pool-dump-database", f"file-name={file}")
        made = xe("network-create", "name-label=later")
        starts = {name: row[1] for name, row in pool.status().items()}
        xe("pool-restore-database", f"file-name={file}")
        lab.wait_until(lambda: pool.status()["host1.xapi"][1] > starts["host1.xapi"], 30,
                       "the coordinator is started again")
        lab.wait_until(whole, 90, "all three hosts are back")
        self.assertEqual(xe("network-list", f"uuid={made}", "--minimal", number=3), "")
        for name in ("host2.xapi", "host3.xapi", "host2.hostd", "host3.hostd"):
            self.assertEqual(pool.status()[name][1], starts[name], f"{name} was started again")


def classes():
    facts = json.loads((lab.SOURCE / "tests/api/facts/datamodel.json").read_text())
    return [cls["name"] for cls in facts["classes"]
            if any(message["name"] == "get_all_records" for message in cls["messages"])]


def steady(cls, row):
    """A record without what a restart changes of itself."""
    row = dict(row)
    if cls == "host":
        row["other_config"].pop("agent_start_time")
    for moving in {"host_metrics": ("last_updated", "memory_free"), "host_cpu": ("utilisation",),
                   "VM_metrics": ("last_updated",), "PIF_metrics": ("last_updated",),
                   "SR": ("physical_utilisation",)}.get(cls, ()):
        row.pop(moving)
    return row


if __name__ == "__main__":
    unittest.main()
