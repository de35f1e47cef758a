"""Sessions, and what a new host shows to an official client."""

import unittest

import lab


class Login(unittest.TestCase):
    def test_a_wrong_password_is_refused_and_names_the_user(self):
        module = lab.xenapi_module()
        session = module.Session(lab.host().url, ignore_ssl=True)
        with self.assertRaises(module.Failure) as caught:
            session.login_with_password("root", "wrong", "1.0", "basalt-tests")
        self.assertEqual(caught.exception.details[:2], ["SESSION_AUTHENTICATION_FAILED", "root"])

    def test_a_session_ends_with_its_logout(self):
        session = lab.login()
        ref = session._session
        self.assertEqual(lab.Raw().call("VM.get_all", ref)["Status"], "Success")
        session.xenapi.session.logout()
        self.assertEqual(lab.Raw().call("VM.get_all", ref)["ErrorDescription"],
                         ["SESSION_INVALID", ref])

    def test_a_new_host_has_what_clients_look_for(self):
        session = lab.login()
        api = session.xenapi
        (pool,) = api.pool.get_all_records().values()
        host = api.host.get_record(pool["master"])
        self.assertTrue(host["enabled"])
        self.assertEqual(host["address"], "10.71.0.2")
        self.assertRegex(host["software_version"]["product_version"], r"^\d+\.\d+\.\d+$")
        self.assertTrue(api.host_metrics.get_live(host["metrics"]))
        self.assertTrue(api.VM.get_is_control_domain(host["control_domain"]))
        self.assertEqual(len(api.SR.get_by_name_label("Local storage")), 1)
        self.assertTrue(api.VM.get_is_a_template(lab.template(session)))
        (pif,) = [row for row in api.PIF.get_all_records().values() if row["management"]]
        self.assertEqual((pif["device"], pif["IP"]), ("eth0", "10.71.0.2"))
        session.xenapi.session.logout()


if __name__ == "__main__":
    unittest.main()
