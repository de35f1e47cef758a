"""Where answers come from."""

import contextlib
import io
import os
import socket
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

# Installed, it lies one folder higher; in the source tree it does not.
sys.path.append(str(Path(__file__).resolve().parents[1] / "dom0-image/prepare"))

import answers
import fetch
import install
import plan
from answers import Refused

NICS = {"eth0": "52:54:00:00:00:01", "eth1": "52:54:00:00:00:02"}
ANYWHERE = {"mac": "", "vlan": 0, "address": "", "gateway": "", "dns": (), "ipv6": ""}
FIXED = "static:ip=192.0.2.7;netmask=255.255.255.0;gateway=192.0.2.1;dns=192.0.2.2,192.0.2.3"


class Say(unittest.TestCase):
    def test_lines_are_broken_between_words(self):
        said = io.StringIO()
        with mock.patch.dict(os.environ, COLUMNS="41"), contextlib.redirect_stdout(said):
            install.say("\nThe host on /dev/vda is about to be upgraded: its settings stay.\n"
                        "  Disk:          /dev/disk/by-id/scsi-36001405aaaaaaaaaaaa (40.0 GiB)")
        self.assertEqual(said.getvalue(), """
The host on /dev/vda is about to be
upgraded: its settings stay.
  Disk:
  /dev/disk/by-id/scsi-36001405aaaaaaaaaaaa
  (40.0 GiB)
""")


class NetworkForAnswers(unittest.TestCase):
    def network(self, text):
        return install.network_for_answers(install.kernel_words(text), NICS)

    def test_without_words_any_device_on_which_a_server_answers(self):
        for text in ("", "network_device=all", "network_config=dhcp"):
            self.assertEqual(self.network(text), ANYWHERE, text)

    def test_a_device_is_named_or_is_the_one_with_that_mac(self):
        for name in ("eth1", "52:54:00:00:00:02", "52:54:00:00:00:02".upper()):
            self.assertEqual(self.network(f"network_device={name}"),
                             {**ANYWHERE, "mac": "52:54:00:00:00:02"})

    def test_a_fixed_address_is_taken_as_it_is_written(self):
        self.assertEqual(self.network(f"quiet network_device=eth0 network_config={FIXED} splash"), {
            "mac": "52:54:00:00:00:01", "vlan": 0, "address": "192.0.2.7/24", "gateway": "192.0.2.1",
            "dns": ("192.0.2.2", "192.0.2.3"), "ipv6": ""})

    def test_an_address_by_dhcpv6_comes_alone(self):
        self.assertEqual(self.network("network_device=eth1 network_config=dhcp6:vlan=7"), {
            "mac": "52:54:00:00:00:02", "vlan": 7, "address": "none", "gateway": "", "dns": (),
            "ipv6": "dhcp"})

    def test_what_cannot_be_is_refused(self):
        for text, why in (("network_device=eth7", "no network device eth7"),
                          ("network_config=dhcp:vlan=x", "not 'x'"),
                          ("network_config=dhcp:ip=192.0.2.7", "not with dhcp:ip"),
                          ("network_config=dhcp6:ip=192.0.2.7", "not with dhcp6:ip"),
                          ("network_config=bootp", "not with bootp"),
                          ("network_config=static", "not an IPv4 address"),
                          ("network_config=static:ip=192.0.2.7", "not an IPv4 address"),
                          (f"network_config={FIXED.replace('2.1;', '3.1;')}", "not in the network")):
            with self.assertRaisesRegex(Refused, why, msg=text):
                self.network(text)

    def test_a_vlan_and_the_older_spelling(self):
        self.assertEqual(self.network("answerfile_device=eth1 network_config=dhcp:vlan=7"),
                         {**ANYWHERE, "mac": "52:54:00:00:00:02", "vlan": 7})
        self.assertEqual(self.network(f"network_device=eth0 network_config={FIXED};vlan=7")["vlan"], 7)


class NetTest(unittest.TestCase):
    def up(self, text, leases=()):
        """The commands that bring it up, and the address that it has then."""
        ran = []
        with mock.patch.object(install.prepare, "run", ran.append), \
                mock.patch.object(install.prepare, "ask_for_lease", side_effect=leases), \
                mock.patch.object(install.prepare, "apply_address") as apply:
            net = install.Net(install.kernel_words(text), NICS)
            net.up()
            net.up()
        apply.assert_called_once()
        return [" ".join(argv[2:]) for argv in ran], apply.call_args.args[1]

    def test_a_tagged_network_is_looked_for_on_each_device(self):
        lease = install.prepare.Lease("eth1.7", "192.0.2.7/24")
        ran, had = self.up("network_config=dhcp:vlan=7", [None, lease])
        self.assertEqual(had, lease)
        self.assertEqual(ran, [
            "set eth0 up", "add link eth0 name eth0.7 type vlan id 7", "set eth0.7 up",
            "del eth0.7",
            "set eth1 up", "add link eth1 name eth1.7 type vlan id 7", "set eth1.7 up"])
        with self.assertRaisesRegex(Refused, "on VLAN 7"):
            self.up("network_config=dhcp:vlan=7", [None, None])

    def test_a_fixed_address_may_be_tagged(self):
        ran, had = self.up(f"network_device=eth1 network_config={FIXED};vlan=7")
        self.assertEqual(ran, ["set eth1 up", "add link eth1 name eth1.7 type vlan id 7",
                               "set eth1.7 up"])
        self.assertEqual((had.device, had.address, had.dhcp), ("eth1.7", "192.0.2.7/24", False))


    def test_dhcpv6_is_asked_on_each_device(self):
        lease = install.dhcp6.Lease("2001:db8::7", 60, 120, 30, 48, b"server", ("2001:db8::53",))
        for vlan, tag in (("", ""), (":vlan=7", ".7")):
            net = install.Net(install.kernel_words("network_config=dhcp6" + vlan), NICS)
            with mock.patch.object(install.prepare, "run"), \
                    mock.patch.object(install.dhcp6, "ask", side_effect=[None, lease]) as ask, \
                    mock.patch.object(install.dhcp6, "give") as give, \
                    mock.patch.object(install.prepare, "write_name_servers") as servers:
                net.up()
                net.up()
            self.assertEqual([call.args for call in ask.call_args_list],
                             [("eth0" + tag,), ("eth1" + tag,)])
            give.assert_called_once_with("eth1" + tag, lease)
            servers.assert_called_once_with(Path("/"), lease.dns)
        net = install.Net(install.kernel_words("network_config=dhcp6"), NICS)
        with mock.patch.object(install.prepare, "run"), \
                mock.patch.object(install.dhcp6, "ask", return_value=None), \
                self.assertRaisesRegex(Refused, "No DHCPv6 server answers"):
            net.up()


class OtherWords(unittest.TestCase):
    def test_what_has_no_effect_is_told(self):
        said = []
        with mock.patch.object(install, "say", said.append):
            install.tell_of_idle_words(install.kernel_words("quiet extrarepo=http://a bash-shell"))
        self.assertEqual(len(said), 2)
        self.assertIn("extrarepo", said[0])

    def test_ssh_is_opened_for_who_has_a_password(self):
        net = mock.Mock()
        with mock.patch.object(install.subprocess, "run") as run, \
                mock.patch.object(install.prepare, "make_ssh_key") as key:
            install.open_ssh({}, net)
            run.assert_not_called()
            install.open_ssh({"sshpassword": "secret1"}, net)
        self.assertEqual(run.call_args_list[0].kwargs["input"], "root:secret1\n")
        self.assertEqual(run.call_args_list[-1].args[0][-1], "ssh.service")
        net.up.assert_called_once_with()
        key.assert_called_once()


class CardNames(unittest.TestCase):
    def test_all_spellings_of_the_kernel_s_parameter(self):
        self.assertEqual(install.card_names(
            "quiet map_netdev=0:d:52:54:00:00:00:02 map_netdev=eth1:0000:00:03.0 "
            "map_netdev=2:s:em1"),
            (("eth0", "52:54:00:00:00:02"), ("eth1", "0000:00:03.0"), ("eth2", "em1")))
        self.assertEqual(install.card_names("quiet"), ())

    def test_what_cannot_be_is_refused(self):
        for text, why in (("map_netdev=0", "map_netdev=NUMBER:MAC"),
                          ("map_netdev=lan:a", "eth0 to eth99"),
                          ("map_netdev=0:a map_netdev=0:b", "one name")):
            with self.assertRaisesRegex(Refused, why, msg=text):
                install.card_names(text)


class AnswersOf(unittest.TestCase):
    TOML = b"[host]\npassword = \"secret1\"\n"

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        for what in (mock.patch.object(install, "hash_password", lambda plain: f"hash of {plain}"),
                     mock.patch.object(plan, "WORK", str(self.folder)),
                     mock.patch.object(plan, "SCRIPTS", str(self.folder / "scripts"))):
            self.enterContext(what)

    def file(self, name, data):
        (self.folder / name).write_bytes(data)
        return f"file://{self.folder / name}"

    def answers(self, text):
        net = install.Net(install.kernel_words(text), NICS)
        with mock.patch.object(net, "up") as up:
            found = install.answers_of(install.kernel_words(text), None, net)
        return found, up.called

    def test_they_are_fetched_over_the_network_that_the_kernel_was_told(self):
        answer = mock.MagicMock()
        answer.__enter__.return_value.read.return_value = self.TOML
        with mock.patch.object(fetch.urllib.request, "urlopen", return_value=answer), \
                mock.patch.object(install.prepare, "choose_address") as choose, \
                mock.patch.object(install.prepare, "apply_address") as apply:
            words = install.kernel_words("answerfile=http://192.0.2.9/a network_device=eth1")
            found = install.answers_of(words, None, install.Net(words, NICS))
        self.assertEqual(choose.call_args.kwargs["wanted"]["mac"], NICS["eth1"])
        apply.assert_called_once_with(Path("/"), choose.return_value)
        self.assertEqual(found, answers.Answers(password_hash="hash of secret1"))

    def test_a_file_needs_no_network_and_may_be_a_script_s_words(self):
        told = answers.Answers(password_hash="hash of secret1")
        url = self.file("answers", self.TOML)
        for name in ("answerfile", "rt_answerfile"):
            self.assertEqual(self.answers(f"{name}={url}"), (told, False))
        url = self.file("make", b"#!/bin/sh\nprintf '[host]\\npassword = \"secret1\"\\n'\n")
        self.assertEqual(self.answers(f"answerfile_generator={url}"), (told, False))
        with self.assertRaisesRegex(Refused, "ended with 3: why"):
            self.answers("answerfile_generator="
                         + self.file("break", b"#!/bin/sh\necho why >&2; exit 3\n"))
        with self.assertRaisesRegex(Refused, "cannot be run"):
            self.answers("answerfile_generator=" + self.file("none", b"#!/no/such/program\n"))

    def test_scripts_are_there_before_anything_is_written(self):
        good = self.file("good", b"#!/bin/sh\nexit 0\n")
        scripts = (answers.Script("installation-start", good),
                   answers.Script("installation-complete", good))
        net = install.Net({}, NICS)
        install.fetch_scripts(answers.Answers(scripts=scripts), net)
        for number in (0, 1):
            path = self.folder / f"scripts/{number}"
            self.assertEqual(path.read_bytes(), b"#!/bin/sh\nexit 0\n")
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)
        for data, why in ((b"echo hello\n", "does not begin with #!"), (None, "cannot be had")):
            url = self.file("bad", data) if data else f"file://{self.folder}/absent"
            with self.assertRaisesRegex(Refused, why):
                install.fetch_scripts(answers.Answers(
                    scripts=(answers.Script("installation-start", url),)), net)


class FetchTest(unittest.TestCase):
    def test_nothing_is_fetched_without_a_bound_or_by_other_ways(self):
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(fetch.BYTES_MAX + 1)
            with self.assertRaisesRegex(Refused, "larger than 1024 KiB"):
                fetch.fetch(f"file://{file.name}")
            file.truncate(fetch.BYTES_MAX)
            self.assertEqual(len(fetch.fetch(f"file://{file.name}")), fetch.BYTES_MAX)
        with self.assertRaisesRegex(Refused, "http, https, ftp, nfs, file"):
            fetch.fetch("gopher://a/b")

    def test_ftp_is_spoken(self):
        with FtpServer(b"of the server") as server:
            url = f"ftp://127.0.0.1:{server.port}/folder/answers"
            self.assertEqual(fetch.fetch(url), b"of the server")
            self.assertTrue(fetch.needs_network(url))

    def test_without_its_library_nfs_is_refused_with_the_reason(self):
        with mock.patch.object(fetch, "LIBNFS", "libnfs.so.none"), \
                self.assertRaisesRegex(Refused, "cannot be had from nfs://a/b/c: .*libnfs"):
            fetch.fetch("nfs://a/b/c")


class FtpServer:
    """One file for one client, by the commands that Python's client gives."""

    def __init__(self, data):
        self.data = data

    def __enter__(self):
        self.control = socket.create_server(("127.0.0.1", 0))
        self.port = self.control.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(10)
        self.control.close()

    def serve(self):
        client, _ = self.control.accept()
        transfer = socket.create_server(("127.0.0.1", 0))
        with client, transfer, client.makefile("rw", newline="\r\n") as lines:
            def say(text):
                lines.write(text + "\n")
                lines.flush()

            say("220 ready")
            for line in lines:
                word = line.split()[0].upper()
                if word == "PASV":
                    high, low = divmod(transfer.getsockname()[1], 256)
                    say(f"227 (127,0,0,1,{high},{low})")
                elif word == "RETR":
                    say("150 it comes")
                    with transfer.accept()[0] as data:
                        data.sendall(self.data)
                    say("226 done")
                elif word == "QUIT":
                    say("221 bye")
                    break
                else:
                    say({"USER": "331 who", "PASS": "230 in", "TYPE": "200 so be it",
                         "CWD": "250 there"}.get(word, "502 what"))


if __name__ == "__main__":
    unittest.main()
