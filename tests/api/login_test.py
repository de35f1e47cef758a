"""Sessions, and what a new host shows to an official client."""

import http.client
import ssl
import subprocess
import tempfile
import unittest
import xmlrpc.client
from pathlib import Path

import lab

CA = "tests-authority"


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


class Certified(unittest.TestCase):
    """Clients that show a certificate instead of a password."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.api = lab.login().xenapi
        self.addCleanup(self.put_back)
        (self.pool,) = self.api.pool.get_all()
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                     "-subj", "/CN=tests authority", "-keyout", "ca.key", "-out", "ca.pem")
        for name in ("tool.tests", "other.tests"):
            self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                         "-keyout", f"{name}.key", "-out", f"{name}.csr")
            self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                         "-CAcreateserial", "-days", "30", "-out", f"{name}.pem")
        self.api.pool.install_ca_certificate(CA, (self.folder / "ca.pem").read_text())

    def put_back(self):
        api = lab.login().xenapi  # the other may have ended with its server
        api.pool.disable_client_certificate_auth(self.pool)
        api.pool.uninstall_ca_certificate(CA, True)
        api.session.logout()

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def connection(self, name=None):
        context = ssl._create_unverified_context()
        if name:
            context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        made = http.client.HTTPSConnection("127.0.0.1", lab.host().port, timeout=60,
                                           context=context)
        self.addCleanup(made.close)
        return made

    def call(self, connection, method, *params):
        connection.request("POST", "/", xmlrpc.client.dumps(params, method),
                           {"Content-Type": "text/xml"})
        return xmlrpc.client.loads(connection.getresponse().read())[0][0]

    def log_in(self, name=None):
        connection = self.connection(name)
        return connection, self.call(connection, "session.login_with_password", "tool", "", "1.0",
                                     "basalt-tests")

    def status(self, name=None):
        connection = self.connection(name)
        connection.request("GET", "/rrd_updates?start=0&host=true")
        return connection.getresponse().status

    def refused(self, name):
        _, answer = self.log_in(name)
        self.assertEqual(answer["Status"], "Failure", name)
        self.assertEqual(answer["ErrorDescription"][0], "SESSION_AUTHENTICATION_FAILED")

    def test_a_certificate_of_the_name_is_enough(self):
        self.refused("tool.tests")
        self.api.pool.enable_client_certificate_auth(self.pool, "tool.tests")
        connection, answer = self.log_in("tool.tests")
        self.assertEqual(answer["Status"], "Success", answer)
        session = answer["Value"]
        self.assertEqual(self.call(connection, "VM.get_all", session)["Status"], "Success")
        record = self.api.session.get_record(session)
        self.assertTrue(record["client_certificate"])
        self.assertFalse(record["is_local_superuser"])
        denied = self.call(connection, "network.destroy", session, self.api.network.get_all()[0])
        self.assertEqual(denied["ErrorDescription"][0], "RBAC_PERMISSION_DENIED")
        self.assertEqual((self.status("tool.tests"), self.status("other.tests"), self.status()),
                         (200, 401, 401))
        self.refused("other.tests")
        self.refused(None)
        # Who is no longer trusted comes in no more.
        self.api.pool.uninstall_ca_certificate(CA, False)
        self.refused("tool.tests")
        self.call(connection, "session.logout", session)

    def test_it_outlives_a_restart_until_it_is_disabled(self):
        self.api.pool.enable_client_certificate_auth(self.pool, "tool.tests")
        lab.host().kill("xapi")
        lab.wait_until(self.is_ready, 60, "xapi serves again")
        lab.wait_until(lambda: self.log_in("tool.tests")[1]["Status"] == "Success", 30,
                       "the certificate is enough after a restart, too")
        lab.login().xenapi.pool.disable_client_certificate_auth(self.pool)
        self.refused("tool.tests")

    def is_ready(self):
        try:
            lab.login().xenapi.session.logout()
            return True
        except Exception:  # whatever a server that just starts answers
            return False


if __name__ == "__main__":
    unittest.main()
