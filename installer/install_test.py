"""Where answers come from."""

import sys
import unittest
from pathlib import Path
from unittest import mock

# Installed, it lies one folder higher; in the source tree it does not.
sys.path.append(str(Path(__file__).resolve().parents[1] / "dom0-image/prepare"))

import answers
import install
from answers import Refused

NICS = {"eth0": "52:54:00:00:00:01", "eth1": "52:54:00:00:00:02"}
ANYWHERE = {"mac": "", "address": "", "gateway": "", "dns": ()}
FIXED = "static:ip=192.0.2.7;netmask=255.255.255.0;gateway=192.0.2.1;dns=192.0.2.2,192.0.2.3"


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
            "mac": "52:54:00:00:00:01", "address": "192.0.2.7/24", "gateway": "192.0.2.1",
            "dns": ("192.0.2.2", "192.0.2.3")})

    def test_what_cannot_be_is_refused(self):
        for text, why in (("network_device=eth7", "no network device eth7"),
                          ("network_config=dhcp:vlan=7", "not with dhcp:vlan=7"),
                          (f"network_config={FIXED};vlan=7", "not with static"),
                          ("network_config=bootp", "not with bootp"),
                          ("network_config=static", "not an IPv4 address"),
                          ("network_config=static:ip=192.0.2.7", "not an IPv4 address"),
                          (f"network_config={FIXED.replace('2.1;', '3.1;')}", "not in the network")):
            with self.assertRaisesRegex(Refused, why, msg=text):
                self.network(text)

    def test_answers_are_fetched_over_it(self):
        answer = mock.MagicMock()
        answer.__enter__.return_value.read.return_value = b"[host]\npassword = \"secret1\"\n"
        with mock.patch.object(install.urllib.request, "urlopen", return_value=answer), \
                mock.patch.object(install.prepare, "choose_address") as choose, \
                mock.patch.object(install.prepare, "apply_address") as apply, \
                mock.patch.object(install, "hash_password", lambda plain: f"hash of {plain}"):
            found = install.answers_of(
                install.kernel_words("answerfile=http://192.0.2.9/a network_device=eth1"),
                mock.Mock(nics=NICS))
        self.assertEqual(choose.call_args.kwargs["wanted"]["mac"], NICS["eth1"])
        apply.assert_called_once_with(Path("/"), choose.return_value)
        self.assertEqual(found, answers.Answers(password_hash="hash of secret1"))


if __name__ == "__main__":
    unittest.main()
