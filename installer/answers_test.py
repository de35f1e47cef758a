"""Answers from files: what each kind says, and what is refused with which reason."""

import unittest

import answer_files
import answers
from answers import Network, Refused, Script

HASH = "$6$salt$hash"

TOML = b"""
[disk]
target = "/dev/disk/by-id/virtio-one"
[network]
device = "eth1"
address = "192.0.2.10/24"
gateway = "192.0.2.1"
dns = ["192.0.2.2", "192.0.2.3"]
[host]
hostname = "host1.example.org"
password = "secret1"
timezone = "Europe/Berlin"
ntp = ["192.0.2.4", "ntp.example.org"]
[installer]
then = "poweroff"
"""

XML = b"""<?xml version="1.0"?>
<!-- as users have it -->
<installation mode="fresh" srtype="ext">
  <primary-disk guest-storage="no">sda</primary-disk>
  <guest-disks/>
  <keymap>de</keymap>
  <root-password type="hash">$6$salt$hash</root-password>
  <source type="local"/>
  <admin-interface name="eth0" proto="static">
    <ip>192.0.2.10</ip><subnet-mask>255.255.255.0</subnet-mask><gateway>192.0.2.1</gateway>
  </admin-interface>
  <nameserver>192.0.2.2</nameserver>
  <hostname>host1</hostname>
  <timezone>Europe/Berlin</timezone>
  <ntp-servers>192.0.2.4</ntp-servers>
</installation>
"""


WHOLE = """
[disk]
target = "/dev/sda"
mirror = "/dev/sdb"
guest_disks = ["/dev/sdc"]
wipe = ["/dev/sdd"]
sr_gib = 100
sr_type = "xfs"
[network]
bond = ["eth0", "eth1"]
bond_mode = "lacp"
vlan = 7
address = "192.0.2.10/24"
dns = ["2001:db8::2"]
ipv6 = "2001:db8::10/64"
gateway6 = "fe80::1"
[network.names]
eth0 = "52:54:00:00:00:01"
eth1 = "0000:00:03.0"
[host]
password = "secret1"
keymap = "de"
ntp_source = "none"
pv_only = true
despite_secure_boot = true
[[script]]
stage = "filesystem-populated"
url = "http://192.0.2.9/a"
[[script]]
stage = "installation-complete"
url = "nfs://192.0.2.9/share/b"
"""


def hashed(plain):
    return HASH if plain == "secret1" else f"$6$other${plain}"


def parse(text):
    return answer_files.parse(text.encode(), hashed)


class Refusals(unittest.TestCase):
    def refusal(self, text):
        with self.assertRaises(Refused) as refused:
            parse(text)
        return str(refused.exception)

    def assert_each_refused(self, good, cases):
        """`cases`: (what is written otherwise, how, a part of the reason)"""
        for old, new, reason in cases:
            with self.subTest(new):
                self.assertIn(old, good)
                self.assertIn(reason, self.refusal(good.replace(old, new, 1)))


class TomlTest(Refusals):
    def test_our_own_schema_is_read(self):
        self.assertEqual(answer_files.parse(TOML, hashed), answers.Answers(
            password_hash=HASH, disk="/dev/disk/by-id/virtio-one", hostname="host1.example.org",
            network=Network("eth1", "192.0.2.10/24", "192.0.2.1", ("192.0.2.2", "192.0.2.3")),
            timezone="Europe/Berlin", ntp=("192.0.2.4", "ntp.example.org"), then="poweroff"))

    def test_a_password_is_all_that_must_be_answered(self):
        self.assertEqual(parse('[host]\npassword_hash = "$6$salt$hash"\n'),
                         answers.Answers(password_hash=HASH))

    def test_all_of_it_is_read(self):
        self.assertEqual(parse(WHOLE), answers.Answers(
            password_hash=HASH, disk="/dev/sda", mirror="/dev/sdb", wipe=("/dev/sdd",), sr_gib=100,
            sr_type="xfs", guest_disks=("/dev/sdc",), keymap="de", ntp_source="none", pv_only=True,
            despite_secure_boot=True,
            network=Network("", "192.0.2.10/24", "", ("2001:db8::2",), ("eth0", "eth1"), "lacp", 7,
                            "2001:db8::10/64", "fe80::1", "openvswitch",
                            (("eth0", "52:54:00:00:00:01"), ("eth1", "0000:00:03.0"))),
            scripts=(Script("filesystem-populated", "http://192.0.2.9/a"),
                     Script("installation-complete", "nfs://192.0.2.9/share/b"))))

    def test_ipv6_may_come_by_dhcp_beside_ipv4_and_alone(self):
        def network(text):
            return parse('[host]\npassword = "secret1"\n[network]\nipv6 = "dhcp"\n' + text).network

        self.assertEqual(network(""), Network(ipv6="dhcp"))
        self.assertEqual(network('address = "none"\n'), Network(address="none", ipv6="dhcp"))
        with self.assertRaisesRegex(Refused, "a fixed IPv6 address"):
            network('dns = ["2001:db8::2"]\n')

    def test_the_time_comes_from_where_the_rest_comes_from(self):
        def source(text):
            return parse('[host]\npassword = "secret1"\n' + text).settled_ntp_source()

        fixed = '[network]\ndevice = "eth0"\naddress = "192.0.2.10/24"\n'
        self.assertEqual(source(""), "dhcp")
        self.assertEqual(source(fixed), "default")
        self.assertEqual(source('ntp = ["192.0.2.4"]\n' + fixed), "manual")
        self.assertEqual(source('ntp_source = "default"\n'), "default")

    def test_misspelt_and_wrong_answers_are_refused_with_the_reason(self):
        self.assert_each_refused(TOML.decode(), [
            ("[disk]", "[disc]", "[disc]"), ("target", "traget", "disk.traget"),
            ('"192.0.2.10/24"', '"192.0.2.10"', "lacks its prefix"),
            ('"192.0.2.10/24"', '"2001:db8::1/64"', "not an IPv4 address"),
            ('"192.0.2.1"', '"198.51.100.1"', "not in the network"),
            ('"192.0.2.10/24"', '"dhcp"', "With DHCP"), ('"eth1"', '""', "a network device"),
            ('"192.0.2.10/24"', '"none"', "neither an IPv4 nor an IPv6"),
            ('"secret1"', '"short"', "6 characters"), ('"host1.example.org"', '"a b"', "host name"),
            ('"Europe/Berlin"', '"../../etc/passwd"', "time zone"),
            ('"poweroff"', '"dance"', "reboot, poweroff, shell"),
            ('"192.0.2.3"]', "7]", "network.dns"), ("[host]", "[host", "cannot be read")])

    def test_a_name_may_come_with_the_address(self):
        named = '[host]\npassword = "secret1"\nhostname = "dhcp"\n'
        self.assertEqual(parse(named).hostname, "")
        fixed = '[network]\ndevice = "eth0"\naddress = "192.0.2.7/24"\n'
        self.assertIn("gets its address there", self.refusal(named + fixed))
        # The other schema has names only.
        self.assertEqual(parse(XML.replace(b"<hostname>host1<", b"<hostname>dhcp<").decode()).hostname, "dhcp")

    def test_what_does_not_go_together_is_refused(self):
        self.assert_each_refused(WHOLE, [
            ('mirror = "/dev/sdb"', 'mirror = "/dev/sda"', "named twice"),
            ('target = "/dev/sda"\n', "", "both of its disks"),
            ('mirror = "/dev/sdb"', "reuse = true", "stays as it is"),
            ('sr_type = "xfs"', 'sr_type = "lvm"', "ext, xfs, not 'lvm'"),
            ("sr_gib = 100", "sr_gib = -1", "a number of GiB"),
            ("sr_gib = 100", "sr_gib = 100\nlocal_sr = false", "an SR that there is"),
            ('bond = ["eth0", "eth1"]', 'bond = ["eth0", "ETH0"]', "different"),
            ('bond = ["eth0", "eth1"]', 'bond = ["eth0"]', "2 to 4"),
            ("bond = [", 'device = "eth0"\nbond = [', "one device, or a bond"),
            ('bond_mode = "lacp"', 'backend = "bridge"', "Bonds are made by Open vSwitch"),
            ('bond_mode = "lacp"', 'backend = "ovs"', "openvswitch, bridge"),
            ('bond_mode = "lacp"', 'bond_mode = "best"', "active-backup, balance-slb, lacp"),
            ("vlan = 7", "vlan = 4095", "1 to 4094"), ("vlan = 7", 'vlan = "7"', "network.vlan"),
            ('"2001:db8::10/64"', '"dhcp"', "announce themselves"),
            ('"2001:db8::10/64"', '"autoconf"', "announce themselves"),
            ('"fe80::1"', '"2001:db9::1"', "not in the network"),
            ('"fe80::1"', '"192.0.2.1"', "not of IPv6"),
            ('["2001:db8::2"]', '["2001:db8::2", "192.0.2.2"]', "all of IPv4, or all of IPv6"),
            ('ipv6 = "2001:db8::10/64"\ngateway6 = "fe80::1"', "", "fixed IPv6"),
            ('address = "192.0.2.10/24"\ndns = ["2001:db8::2"]',
             'address = "none"\ndns = ["192.0.2.2"]', "without an IPv4 address"),
            ('eth1 = "0000:00:03.0"', 'lan = "0000:00:03.0"', "eth0 to eth99"),
            ('eth1 = "0000:00:03.0"', "eth1 = 3", "network.names"),
            ('ntp_source = "none"', 'ntp_source = "manual"', "a server of time"),
            ('ntp_source = "none"', 'ntp_source = "dhcp"\nntp = ["a"]', "exclude each other"),
            ('keymap = "de"', 'keymap = "../de"', "keyboard"),
            ('"installation-complete"', '"some-day"', "stage"),
            ('"nfs://192.0.2.9/share/b"', '"tftp://192.0.2.9/b"', "http, https, ftp, nfs, file")])


class XmlTest(Refusals):
    def changed(self, *pairs):
        text = XML.decode()
        for old, new in pairs:
            self.assertIn(old, text)
            text = text.replace(old, new, 1)
        return parse(text)

    def test_the_xml_of_other_installers_says_the_same(self):
        self.assertEqual(answer_files.parse(XML, hashed), answers.Answers(
            password_hash=HASH, disk="/dev/sda", local_sr=False, hostname="host1", keymap="de",
            network=Network("eth0", "192.0.2.10/24", "192.0.2.1", ("192.0.2.2",)),
            timezone="Europe/Berlin", ntp=("192.0.2.4",), pv_only=True))

    def test_what_is_done_otherwise_is_noted(self):
        notes = self.changed(
            ('srtype="ext"', ""), ('guest-storage="no"', ""),
            ('<source type="local"/>', '<source type="url">http://192.0.2.9/</source>')).notes
        self.assertEqual(len(notes), 2)
        self.assertIn("lvm", notes[0])
        self.assertIn("repository", notes[1])

    def test_a_host_is_installed_again_where_it_is(self):
        again = (('mode="fresh"', 'mode="reinstall"'),
                 ("<guest-disks/>", "<existing-installation>sda</existing-installation>"))
        made = self.changed(*again)
        self.assertEqual((made.disk, made.reuse, made.mirror, made.guest_disks, made.hostname),
                         ("/dev/sda", True, "", (), "host1"))
        self.assertIn("no backup is kept", made.notes[0])
        with self.assertRaisesRegex(Refused, "no <existing-installation>"):
            self.changed(again[0], ("<guest-disks/>", ""))
        with self.assertRaisesRegex(Refused, "nowhere else"):
            self.changed(*again, (">sda</primary-disk>", ">sdb</primary-disk>"))
        with self.assertRaisesRegex(Refused, "guest-disks"):
            self.changed(again[0], ("<guest-disks/>", "<guest-disks/><existing-installation>sda"
                                                      "</existing-installation>"))

    def test_a_mirror_and_more_disks(self):
        plain = '<primary-disk guest-storage="no">sda</primary-disk>\n  <guest-disks/>'

        def disks(text):
            made = self.changed((plain, text))
            return made.disk, made.mirror, made.local_sr, made.guest_disks

        self.assertEqual(disks('<primary-disk swraid="true">sda,sdb</primary-disk>'),
                         ("/dev/sda", "/dev/sdb", True, ()))
        self.assertEqual(disks('<primary-disk swraid="true">missing, sdb</primary-disk>'),
                         ("/dev/sdb", "missing", True, ()))
        self.assertEqual(disks('<primary-disk gueststorage="false">sda</primary-disk>'
                               "<guest-disks><guest-disk>sda</guest-disk><guest-disk>sdb"
                               "</guest-disk></guest-disks><guest-disk>sdc</guest-disk>"),
                         ("/dev/sda", "", True, ("/dev/sdc", "/dev/sdb")))

    def test_vlans_and_ipv6(self):
        self.assertEqual(self.changed(('name="eth0"', 'name="eth0" vlan="7"')).network.vlan, 7)
        for word, backend in (("vswitch", "openvswitch"), ("openvswitch", "openvswitch"),
                              ("bridge", "bridge")):
            made = self.changed(("<guest-disks/>", f"<network-backend>{word}</network-backend>"))
            self.assertEqual(made.network.backend, backend)
        begin = XML.decode().index("<admin-interface")
        end = XML.decode().index("</admin-interface>") + len("</admin-interface>")
        whole = XML.decode()[begin:end]
        six = ("192.0.2.2", "2001:db8::2")
        made = self.changed(six, (whole, '<admin-interface hwaddr="52:54:00:BA:5A:17" proto="none" '
                                    'protov6="static"><ipv6>2001:db8::10/64</ipv6>'
                                    "<gatewayv6>fe80::1</gatewayv6></admin-interface>")).network
        self.assertEqual(made, Network("52:54:00:ba:5a:17", "none", "", ("2001:db8::2",),
                                       ipv6="2001:db8::10/64", gateway6="fe80::1"))
        made = self.changed((whole, '<admin-interface name="eth0" proto="dhcp" '
                                    'protov6="autoconf"/>')).network
        self.assertEqual(made, Network("eth0", "", "", ("192.0.2.2",), ipv6="autoconf"))
        made = self.changed((whole, '<admin-interface name="eth0" proto="none" protov6="dhcp"/>'),
                            ("<nameserver>192.0.2.2</nameserver>", "")).network
        self.assertEqual(made, Network("eth0", "none", "", (), ipv6="dhcp"))

    def test_scripts_and_time(self):
        made = self.changed(
            ("<keymap>", '<script stage="installation-start" type="url">https://a/b</script>'
             '<script stage="installation-complete" type="nfs">a:/b/c</script>'
             "<post-install-script>ftp://a/d</post-install-script><keymap>"),
            ("<ntp-servers>192.0.2.4</ntp-servers>", '<ntp source="none"/>'))
        self.assertEqual(made.scripts, (Script("installation-start", "https://a/b"),
                                        Script("installation-complete", "nfs://a/b/c"),
                                        Script("filesystem-populated", "ftp://a/d")))
        self.assertEqual((made.ntp_source, made.ntp), ("none", ()))

    def test_what_cannot_be_done_is_refused(self):
        self.assert_each_refused(XML.decode(), [
            ("fresh", "restore", "installs, installs again and upgrades"),
            ("<guest-disks/>", "<existing-installation>sda</existing-installation>",
             "what to do with <existing-installation>"),
            (">sda<", ">sda,sdb<", "swraid"),
            ('guest-storage="no">sda<', 'swraid="true">sda<', "two disks"),
            ('guest-storage="no">sda<', 'swraid="true">missing,missing<', "one of which"),
            ('srtype="ext"', 'sr-type="zfs"', "'zfs'"),
            ('name="eth0"', 'name="eth0" vlan="9999"', "1 to 4094"),
            ('name="eth0"', 'name="eth0" protov6="slaac"', "static, dhcp, autoconf or none"),
            ('name="eth0"', 'name="bond0"', "network.bond"),
            ('proto="static"', 'proto="none"', "neither an IPv4 nor an IPv6"),
            ('proto="static"', 'proto="pppoe"', "not dhcp, static or none"),
            ("<keymap>", '<script stage="x">http://a</script><keymap>', "stage"),
            ("<keymap>", "<driver-source>http://a</driver-source><keymap>", "driver packs"),
            ("<keymap>", "<fcoe-interface>x</fcoe-interface><keymap>", "<fcoe-interface>"),
            ('type="hash">$6$salt$hash<', 'type="hash">!!<', "first start"),
            ('<source type="local"/>', '<ntp source="dhcp"/>', "exclude each other"),
            ('guest-storage="no"', 'guest-storage="perhaps"', "neither true nor false"),
            ('<?xml version="1.0"?>', '<!DOCTYPE a [<!ENTITY b "c">]>', "declarations"),
            ("</installation>", "", "cannot be read")])
        with self.assertRaisesRegex(Refused, "not text"):
            answer_files.parse(b"\xff\xfe", hashed)


if __name__ == "__main__":
    unittest.main()
