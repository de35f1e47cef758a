"""basalt-prepare, on a folder that stands for a host's root."""

import json
import os
import stat
import tempfile
import tomllib
import unittest
from pathlib import Path
from unittest import mock

import prepare

OFFER = ("ip=192.0.2.7\nsubnet=255.255.255.0\nmask=24\nrouter=192.0.2.1 192.0.2.2\n"
         "dns=192.0.2.3 192.0.2.4\nntp=192.0.2.5\n")


class PrepareTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)

    def put(self, path, text=""):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def nic(self, name, mac):
        (self.root / "sys/class/net" / name / "device").mkdir(parents=True)
        self.put(f"sys/class/net/{name}/address", mac)

    def private(self, name):
        return self.root / "var/lib/basalt/xapi" / name

    def test_the_identity_is_made_once_and_kept(self):
        host = prepare.make_identity(self.root, os.getuid())
        names = ("pool.pem", "pool-certificates.pem", "pool.conf", "ptoken")
        before = {name: self.private(name).read_text() for name in names}
        self.assertEqual(host, prepare.make_identity(self.root, os.getuid()))
        self.assertEqual(before, {name: self.private(name).read_text() for name in names})
        for name in names:
            self.assertEqual(stat.S_IMODE(self.private(name).stat().st_mode), 0o600, name)
        self.assertEqual(before["pool.conf"], "master\n")
        self.assertIn("PRIVATE KEY", before["pool.pem"])
        self.assertNotIn("PRIVATE KEY", before["pool-certificates.pem"])
        self.assertIn(before["pool-certificates.pem"].strip(), before["pool.pem"])

    def test_two_hosts_have_nothing_in_common(self):
        first = prepare.make_identity(self.root / "a", os.getuid())
        second = prepare.make_identity(self.root / "b", os.getuid())
        self.assertNotEqual(first, second)
        for name in ("pool.pem", "ptoken"):
            texts = [(self.root / one / "var/lib/basalt/xapi" / name).read_text() for one in "ab"]
            self.assertNotEqual(*texts)

    def test_scripts_find_what_they_look_for(self):
        self.put("usr/share/basalt/release", "PRODUCT_BRAND=Basalt\nPRODUCT_VERSION=8.3.0\n")
        lease = prepare.Lease("eth1", "192.0.2.7/24")
        for _ in range(2):
            prepare.write_for_scripts(self.root, "the-uuid", lease, prepare.read_release(self.root))
        inventory = (self.root / "etc/xensource-inventory").read_text()
        self.assertIn("INSTALLATION_UUID='the-uuid'\n", inventory)
        self.assertIn("PRODUCT_VERSION='8.3.0'\n", inventory)
        self.assertIn("MANAGEMENT_INTERFACE='xenbr1'\n", inventory)
        self.assertEqual(os.readlink(self.root / "etc/xensource/pool.conf"),
                         "/var/lib/basalt/xapi/pool.conf")
        self.assertEqual((self.root / "etc/xensource/network.conf").read_text(), "openvswitch\n")
        self.assertTrue((self.root / "etc/xapi.d/plugins").is_dir())

    def test_a_lease_is_read_and_a_refusal_is_none(self):
        self.assertEqual(
            prepare.parse_lease("eth0", OFFER),
            prepare.Lease("eth0", "192.0.2.7/24", "192.0.2.1", ("192.0.2.3", "192.0.2.4"),
                          ntp=("192.0.2.5",)))
        for given, taken in (("Host9.example.org", "host9"), ("9", ""), ("a_b", ""), ("-a", "")):
            lease = prepare.parse_lease("eth0", f"{OFFER}hostname={given}\n")
            self.assertEqual(lease.hostname, taken)
        self.assertIsNone(prepare.parse_lease("eth0", ""))
        self.assertIsNone(prepare.parse_lease("eth0", "ip=\nsubnet=\n"))

    def test_the_first_device_with_a_lease_is_the_management_device(self):
        for number in (10, 2, 0):
            self.nic(f"eth{number}", f"52:54:00:00:00:{number:02x}")
        asked = []

        def ask(device):
            asked.append(device)
            return prepare.parse_lease(device, OFFER) if device == "eth2" else None

        self.assertEqual(prepare.choose_address(self.root, ask).device, "eth2")
        self.assertEqual(asked, ["eth0", "eth2"])

    def test_without_a_server_the_address_is_link_local_and_stays_the_same(self):
        self.nic("eth0", "52:54:00:ba:5a:17")
        first = prepare.choose_address(self.root, lambda _: None)
        self.assertEqual(first, prepare.choose_address(self.root, lambda _: None))
        self.assertRegex(first.address, r"^169\.254\.\d+\.\d+/16$")
        self.assertFalse(first.dhcp)
        for mac in ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "52:54:00:12:34:56"):
            octets = [int(part) for part in prepare.link_local(mac)[:-3].split(".")]
            self.assertEqual(octets[:2], [169, 254])
            self.assertTrue(1 <= octets[2] <= 254 and 0 <= octets[3] <= 255, octets)

    def test_a_lease_is_noted_for_its_keeper_and_forgotten_without_one(self):
        with mock.patch.object(prepare, "run"):
            prepare.apply_address(self.root, prepare.parse_lease("eth0", OFFER))
            noted = (self.root / "run/basalt/lease").read_text()
            clock = (self.root / "run/chrony-dhcp/basalt.sources").read_text()
            prepare.apply_address(self.root, prepare.Lease("eth0", "169.254.1.1/16", dhcp=False))
        self.assertEqual(noted, "BRIDGE=xenbr0\nADDRESS=192.0.2.7\n")
        self.assertEqual(clock, "server 192.0.2.5 iburst\n")
        self.assertFalse((self.root / "run/basalt/lease").exists())
        self.assertFalse((self.root / "run/chrony-dhcp/basalt.sources").exists())
        self.assertEqual((self.root / "etc/resolv.conf").read_text(),
                         "nameserver 192.0.2.3\nnameserver 192.0.2.4\n")

    def test_the_backend_is_what_the_kernel_runs_on(self):
        self.assertEqual(prepare.backend(self.root), "qemu")
        self.put("sys/hypervisor/type", "xen\n")
        self.assertEqual(prepare.backend(self.root), "xen")

    def test_only_a_live_system_shows_a_password(self):
        self.put("proc/cmdline", "quiet boot=basalt net.ifnames=0\n")
        self.assertTrue(prepare.is_live(self.root))
        self.put("proc/cmdline", "quiet boot=basalt basalt.slot=a\n")
        self.assertFalse(prepare.is_live(self.root))
        self.put("proc/cmdline", "quiet root=/dev/sda1 x.boot=basalt\n")
        self.assertFalse(prepare.is_live(self.root))
        lease = prepare.Lease("eth0", "192.0.2.7/24")
        issue = self.root / "run/issue.d/basalt.issue"
        prepare.write_issue(self.root, lease, "", "")
        self.assertNotIn("Password", issue.read_text())
        prepare.write_issue(self.root, lease, "geheim", "It was taken back.")
        self.assertIn("It was taken back.\n", issue.read_text())
        self.assertIn("https://192.0.2.7\n", issue.read_text())
        self.assertIn("User: root  Password: geheim\n", issue.read_text())
        self.assertEqual(stat.S_IMODE(issue.stat().st_mode), 0o600)

    def test_an_installed_host_is_as_its_installation_was_told(self):
        self.assertEqual(prepare.read_settings(self.root), {})
        self.put("usr/share/zoneinfo/Europe/Berlin")
        self.put("var/lib/basalt/install.json",
                 '{"hostname": "host1", "password_hash": "$6$x$y", "timezone": "Europe/Berlin",'
                 ' "ntp": ["192.0.2.3"], "network": {}}')
        with mock.patch.object(prepare.subprocess, "run") as run:
            for _ in range(2):
                prepare.apply_settings(self.root, prepare.read_settings(self.root))
        run.assert_called_once()
        self.assertEqual(run.call_args.kwargs["input"], "root:$6$x$y\n")
        self.assertEqual((self.root / "etc/hostname").read_text(), "host1\n")
        self.assertIn("localhost host1\n", (self.root / "etc/hosts").read_text())
        self.assertEqual(os.readlink(self.root / "etc/localtime"),
                         "/usr/share/zoneinfo/Europe/Berlin")
        self.assertEqual((self.root / "etc/chrony/sources.d/basalt.sources").read_text(),
                         "server 192.0.2.3 iburst\n")

    def test_who_changed_a_setting_since_has_changed_it(self):
        settings = {"hostname": "host1", "password_hash": "$6$x$y", "timezone": "Etc/UTC",
                    "ntp": [], "network": {}}
        with mock.patch.object(prepare.subprocess, "run"):
            prepare.apply_settings(self.root, settings)
            self.put("etc/hostname", "renamed\n")
            prepare.apply_settings(self.root, settings)
        self.assertEqual((self.root / "etc/hostname").read_text(), "renamed\n")

    def test_who_is_not_named_is_called_what_the_dhcp_server_says(self):
        image = (Path(__file__).resolve().parents[1] / "overlay/etc/hostname").read_text()
        told = {"hostname": "", "timezone": "Etc/UTC", "ntp": [], "network": {}}
        lease = prepare.Lease("eth0", "192.0.2.7/24", hostname="host9")
        for settings in ({}, told):
            self.put("etc/hostname", image)
            if settings:
                prepare.write_settings(self.root, settings)
            self.assertEqual(prepare.offered_hostname(self.root, settings, lease), "host9")
            prepare.write_hostname(self.root, "renamed")
            self.assertEqual(prepare.offered_hostname(self.root, settings, lease), "")
        self.put("etc/hostname", image)
        prepare.write_settings(self.root, {**told, "hostname": image.strip()})
        self.assertEqual(prepare.offered_hostname(self.root, {**told, "hostname": image.strip()},
                                                  lease), "")

    def test_the_host_s_console_has_the_last_word_on_the_address(self):
        told = {"mac": "52:54:00:00:00:01", "address": "", "gateway": "", "dns": []}
        self.assertIsNone(prepare.read_network(self.root, {}))
        self.assertEqual(prepare.read_network(self.root, {"network": told}), told)
        changed = {**told, "address": "192.0.2.9/24"}
        self.put("var/lib/basalt/management.json", json.dumps(changed))
        self.assertEqual(prepare.read_network(self.root, {"network": told}), changed)
        self.assertEqual(prepare.read_network(self.root, {}), changed)
        kept = {**told, "address": "192.0.2.10/24"}
        with mock.patch.object(prepare.management, "kept_by_hostd", return_value=kept):
            self.assertEqual(prepare.read_network(self.root, {"network": told}), kept)

    def test_a_card_may_be_told_by_its_name(self):
        for number in (0, 1):
            self.nic(f"eth{number}", f"52:54:00:00:00:0{number}")
        told = {"mac": "", "device": "eth1", "bridge": "xenbr1", "address": "192.0.2.9/24",
                "gateway": "", "dns": []}
        lease = prepare.choose_address(self.root, wanted=told)
        self.assertEqual((lease.device, lease.bridge, lease.dhcp), ("eth1", "", False))
        lease = prepare.choose_address(self.root, wanted={**told, "device": "eth7"})
        self.assertEqual(lease.device, "eth0", "a card that was replaced leaves an address")

    def test_an_address_on_a_bond_or_vlan_is_hostds_to_give(self):
        self.nic("eth0", "52:54:00:00:00:01")
        told = {"mac": "52:54:00:00:00:01", "bridge": "xenbr0", "address": "192.0.2.9/24",
                "gateway": "192.0.2.1", "dns": ["192.0.2.3"]}
        lease = prepare.choose_address(self.root, wanted=told)
        self.assertEqual(lease.bridge, "", "it is the card's own")
        lease = prepare.choose_address(self.root, wanted={**told, "bridge": "xapi1"})
        with mock.patch.object(prepare, "run") as run:
            prepare.apply_address(self.root, lease)
        run.assert_not_called()
        self.assertEqual((self.root / "etc/resolv.conf").read_text(), "nameserver 192.0.2.3\n")
        prepare.write_for_scripts(self.root, "the-uuid", lease, {})
        self.assertIn("MANAGEMENT_INTERFACE='xapi1'\n",
                      (self.root / "etc/xensource-inventory").read_text())

    def test_a_lease_takes_the_place_of_the_address_on_the_bridge(self):
        (self.root / "sys/class/net/xenbr0").mkdir(parents=True)
        before = ["192.0.2.7/24", "192.0.2.9/24"]
        with mock.patch.object(prepare, "run") as run, \
                mock.patch.object(prepare, "addresses_on", return_value=before):
            prepare.apply_address(self.root, prepare.Lease("eth0", "192.0.2.7/24", "192.0.2.1"))
        self.assertEqual([call.args[0][1:4] for call in run.call_args_list],
                         [["link", "set", "xenbr0"], ["address", "replace", "192.0.2.7/24"],
                          ["address", "del", "192.0.2.9/24"], ["route", "replace", "default"]])

    def test_addresses_of_another_scope_are_none_that_a_lease_replaces(self):
        said = '[{"ifname": "xenbr0", "addr_info": [{}, {"local": "192.0.2.7", "prefixlen": 24}]}]'
        with mock.patch.object(prepare.subprocess, "run") as run:
            run.return_value.stdout = said
            self.assertEqual(prepare.addresses_on("xenbr0"), ["192.0.2.7/24"])

    def test_an_address_that_hostd_has_on_a_bridge_is_left_to_it(self):
        self.nic("eth0", "52:54:00:00:00:01")
        lease = prepare.Lease("eth0", "192.0.2.7/24", "192.0.2.1", ("192.0.2.3",), False)
        with mock.patch.object(prepare, "run") as run:
            prepare.apply_address(self.root, lease)
        self.assertEqual([call.args[0][:2] for call in run.call_args_list],
                         [["ip", "link"], ["ip", "address"], ["ip", "route"]])
        (self.root / "sys/class/net/xenbr0").mkdir()
        with mock.patch.object(prepare, "run") as run:
            prepare.apply_address(self.root, lease)
        run.assert_not_called()
        self.assertEqual((self.root / "etc/resolv.conf").read_text(), "nameserver 192.0.2.3\n")
        self.assertEqual(prepare.interface_of(self.root, "eth0"), "xenbr0")

    def test_what_is_made_later_has_no_address_before(self):
        for number in (0, 1):
            self.nic(f"eth{number}", f"52:54:00:00:00:0{number}")
        never = mock.Mock(side_effect=AssertionError("nobody is asked"))
        told = {"mac": "52:54:00:00:00:01", "address": "", "gateway": "", "dns": []}
        lease = prepare.choose_address(self.root, never, {**told, "vlan": 7})
        self.assertEqual((lease.device, lease.dhcp, lease.bridge), ("eth1", False, ""))
        self.assertTrue(lease.address.startswith("169.254."))
        # By then it is hostd's, which asks no server.
        lease = prepare.choose_address(self.root, never, {**told, "mac": "", "device": "eth1",
                                                          "bridge": "xapi0"})
        self.assertTrue(lease.later)
        with mock.patch.object(prepare, "run", never):
            prepare.apply_address(self.root, lease)
        self.assertEqual((self.root / "run/basalt/lease-wanted").read_text(), "eth1 xapi0\n")
        prepare.note_address(self.root, prepare.Lease("eth1", "192.0.2.9/24", bridge="xapi0"))
        self.assertFalse((self.root / "run/basalt/lease-wanted").exists())
        self.assertEqual((self.root / "run/basalt/lease").read_text(),
                         "BRIDGE=xapi0\nADDRESS=192.0.2.9\n")

    def test_each_card_of_a_bond_may_bring_the_address(self):
        for number in (0, 1, 2):
            self.nic(f"eth{number}", f"52:54:00:00:00:0{number}")
        told = {"mac": "", "address": "", "gateway": "", "dns": ["192.0.2.9"],
                "bond": ["52:54:00:00:00:02", "52:54:00:00:00:01"]}
        lease = prepare.choose_address(
            self.root, lambda device: prepare.parse_lease(device, OFFER) if device == "eth1" else None,
            told)
        self.assertEqual((lease.device, lease.dns), ("eth1", ("192.0.2.9",)))

    def test_a_host_without_ipv4_begins_with_an_address_of_its_own(self):
        self.nic("eth0", "52:54:00:00:00:00")
        told = {"mac": "", "address": "none", "ipv6": "2001:db8::7/64", "gateway": "",
                "dns": ["2001:db8::3"]}
        lease = prepare.choose_address(self.root, None, told)
        self.assertTrue(lease.address.startswith("169.254."))
        lease = prepare.choose_address(self.root, None, {**told, "bridge": "xenbr0"})
        self.assertEqual((lease.address, lease.dhcp, lease.bridge),
                         ("2001:db8::7/64", False, "xenbr0"))
        prepare.write_for_scripts(self.root, "u", lease, {})
        self.assertIn("MANAGEMENT_ADDRESS_TYPE='IPv6'\n",
                      (self.root / "etc/xensource-inventory").read_text())
        prepare.write_issue(self.root, lease, "", "")
        self.assertIn("https://[2001:db8::7]\n",
                      (self.root / "run/issue.d/basalt.issue").read_text())

    def test_name_servers_beside_dhcp_are_not_forgotten(self):
        told = {"mac": "", "address": "", "gateway": "", "dns": ["192.0.2.9"]}
        kept = {"mac": "", "device": "eth0", "bridge": "xenbr0", "address": "", "ipv6": "",
                "gateway": "", "dns": []}
        with mock.patch.object(prepare.management, "kept_by_hostd", return_value=kept):
            self.assertEqual(prepare.read_network(self.root, {"network": told})["dns"],
                             ["192.0.2.9"])
            self.assertEqual(prepare.read_network(self.root, {})["dns"], [])

    def test_the_time_comes_from_where_it_was_told(self):
        self.put("etc/chrony/chrony.conf", "pool 2.debian.pool.ntp.org iburst\nserver a\nmakestep 1 3\n")
        with mock.patch.object(prepare, "run") as run:
            prepare.write_time_source(self.root, {"ntp": ["192.0.2.3"], "ntp_source": "manual"})
            run.assert_not_called()
            self.assertEqual((self.root / "etc/chrony/chrony.conf").read_text(),
                             "#pool 2.debian.pool.ntp.org iburst\n#server a\nmakestep 1 3\n")
            prepare.write_time_source(self.root, {"ntp": [], "ntp_source": "none"})
        self.assertEqual([call.args[0][1] for call in run.call_args_list], ["disable", "--no-block"])

    def test_the_switch_is_what_was_told(self):
        settings = {"hostname": "host1", "password_hash": "$6$x$y", "timezone": "Etc/UTC", "ntp": []}
        for network, word in (({}, "openvswitch\n"), ({"backend": "bridge"}, "bridge\n")):
            prepare.write_settings(self.root, {**settings, "network": network})
            prepare.write_for_scripts(self.root, "u", prepare.Lease("eth0", "192.0.2.7/24"), {})
            conf = self.root / "etc/xensource/network.conf"
            self.assertEqual(conf.read_text(), word)
            conf.unlink()

    def test_only_another_keyboard_is_loaded(self):
        with mock.patch.object(prepare.subprocess, "run") as run:
            run.return_value.returncode = 0
            prepare.load_keymap({})
            prepare.load_keymap({"keymap": "us"})
            run.assert_not_called()
            prepare.load_keymap({"keymap": "de"})
        self.assertEqual(run.call_args.args[0][-1], "de")

    def test_hostd_is_told_of_the_local_sr(self):
        for _ in range(2):
            prepare.make_sr_folders(self.root)
        self.assertTrue((self.root / "var/lib/basalt/sr/iso").is_dir())

        def lines(settings, facts=""):
            said = mock.Mock(stdout=facts)
            with mock.patch.object(prepare.subprocess, "run", return_value=said) as run:
                self.asked = run.call_args_list
                return prepare.local_sr_lines(self.root, settings)

        self.assertIn("/sr/local", lines({}))
        self.assertEqual(lines({"local_sr": False}), "")
        self.assertEqual(lines({"local_sr": True}), lines({}))
        self.assertEqual(lines({"local_sr": "device"}), "")
        self.assertIn("basalt-sr", self.asked[0].args[0])  # it looked for volumes
        self.put("dev/disk/by-label/BASALT-SR")
        self.assertEqual(lines({"local_sr": "device"}, "UUID=1-2\nTYPE=xfs\nLABEL=BASALT-SR\n"),
                         'local_sr = "/dev/disk/by-uuid/1-2"\nlocal_sr_type = "xfs"\n'
                         'local_sr_uuid = "1-2"\n')
        self.assertIn('"ext"', lines({"local_sr": "device"}, "UUID=1-2\nTYPE=ext4\n"))
        self.assertEqual(lines({"local_sr": "device"}, "TYPE=vfat\n"), "")

    def test_a_host_whose_local_sr_is_a_folder_keeps_it(self):
        prepare.make_sr_folders(self.root)
        with mock.patch.object(prepare, "run") as run, \
                mock.patch.object(prepare.subprocess, "run"):
            prepare.mount_local_sr(self.root)
            run.assert_not_called()
            self.put("dev/disk/by-label/BASALT-SR")
            prepare.mount_local_sr(self.root)
        self.assertEqual(run.call_args.args[0][-2:], [
            str(self.root / "dev/disk/by-label/BASALT-SR"),
            str(self.root / "var/lib/basalt/sr/local")])

    def test_a_fixed_address_is_on_the_device_with_its_mac(self):
        self.nic("eth0", "52:54:00:00:00:01")
        self.nic("eth1", "52:54:00:00:00:02")
        wanted = {"mac": "52:54:00:00:00:02", "address": "192.0.2.9/24", "gateway": "192.0.2.1",
                  "dns": ["192.0.2.3"]}
        never = mock.Mock(side_effect=AssertionError("a fixed address is not asked for"))
        self.assertEqual(prepare.choose_address(self.root, never, wanted), prepare.Lease(
            "eth1", "192.0.2.9/24", "192.0.2.1", ("192.0.2.3",), dhcp=False))
        asked = []
        wanted["address"] = ""
        prepare.choose_address(self.root, asked.append, wanted)
        self.assertEqual(asked, ["eth1"])

    def test_an_administrator_s_web_console_wins(self):
        self.assertEqual(prepare.web_lines(self.root), "")
        self.put("usr/share/basalt/web/index.html")
        self.assertEqual(prepare.web_lines(self.root), 'web = "/usr/share/basalt/web"\n')
        (self.root / "var/lib/basalt/web").mkdir(parents=True)
        self.assertEqual(prepare.web_lines(self.root), 'web = "/usr/share/basalt/web"\n')
        self.put("var/lib/basalt/web/index.html")
        self.assertEqual(prepare.web_lines(self.root), 'web = "/var/lib/basalt/web"\n')
        self.put("var/lib/basalt/web-policy", "default-src 'self';\n  img-src \"x\"\n")
        self.assertEqual(tomllib.loads(prepare.web_lines(self.root)), {
            "web": "/var/lib/basalt/web", "web_policy": "default-src 'self'; img-src \"x\""})

    def test_a_file_is_replaced_whole(self):
        path = self.root / "a/b"
        prepare.write(path, "one", 0o600)
        os.link(path, self.root / "old")
        prepare.write(path, "two", 0o644)
        self.assertEqual((path.read_text(), (self.root / "old").read_text()), ("two", "one"))
        self.assertEqual([entry.name for entry in path.parent.iterdir()], ["b"])


if __name__ == "__main__":
    unittest.main()
