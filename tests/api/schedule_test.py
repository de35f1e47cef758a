"""Schedules of snapshots: made, refused, run at once and taken away."""

import unittest

import lab


class Schedules(unittest.TestCase):
    def setUp(self):
        self.session = lab.login()
        self.api = self.session.xenapi
        self.addCleanup(self.api.session.logout)

    def record(self, **other):
        return {"name_label": "schedule test", "name_description": "", "enabled": False,
                "type": "snapshot", "frequency": "daily", "retained_snapshots": "3",
                "schedule": {"min": "15", "hour": "4"}, **other}

    def code(self, call, *args):
        try:
            call(*args)
        except lab.xenapi_module().Failure as failure:
            return failure.details[0]
        return ""

    def test_a_bad_schedule_is_not_made(self):
        before = set(self.api.VMSS.get_all())
        for bad in ({"schedule": {"min": "7"}}, {"schedule": {"hour": "24"}},
                    {"schedule": {"days": "Someday"}}, {"schedule": {"year": "1"}},
                    {"retained_snapshots": "0"}, {"retained_snapshots": "11"}):
            self.assertEqual(self.code(self.api.VMSS.create, self.record(**bad)), "INVALID_VALUE",
                             bad)
        self.assertEqual(set(self.api.VMSS.get_all()), before)

    def test_it_takes_snapshots_until_it_goes(self):
        (template,) = self.api.VM.get_by_name_label("Other install media")
        vm = self.api.VM.clone(template, "scheduled")
        self.addCleanup(self.api.VM.destroy, vm)
        self.api.VM.provision(vm)
        schedule = self.api.VMSS.create(self.record())
        row = self.api.VMSS.get_record(schedule)
        self.assertEqual((row["frequency"], row["retained_snapshots"], row["schedule"], row["VMs"]),
                         ("daily", "3", {"min": "15", "hour": "4"}, []))
        self.api.VM.set_snapshot_schedule(vm, schedule)
        (uuid,) = self.api.VMSS.snapshot_now(schedule).split(",")
        snapshot = self.api.VM.get_by_uuid(uuid)
        self.assertTrue(self.api.VM.get_is_vmss_snapshot(snapshot))
        self.api.VMSS.destroy(schedule)
        self.assertEqual(self.api.VM.get_snapshot_schedule(vm), "OpaqueRef:NULL")
        self.assertEqual(self.api.VM.get_snapshots(vm), [snapshot])
        self.assertEqual(self.code(self.api.VMSS.destroy, schedule), "HANDLE_INVALID")
        self.api.VM.destroy(snapshot)


if __name__ == "__main__":
    unittest.main()
