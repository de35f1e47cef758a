"""What plug-ins of this API import: dispatches the one call of a run and prints its answer.

A plug-in is a program whose one argument is an XML-RPC call: a function, a session's reference and
a struct of texts. It prints an XML-RPC response. Functions get (session, args) and return a text;
the session is one of the XenAPI module where that is installed, else the reference itself.
"""

import os
import sys
import traceback
import xmlrpc.client

LOCAL_SOCKET = "/var/lib/xcp/xapi"


class Failure(Exception):
    """An error with a code of the API: Failure("MY_CODE", ["what", "why"])."""

    def __init__(self, code, params):
        super().__init__(code, params)
        self.code = code
        self.params = [str(one) for one in params]

    def rpc_failure(self):
        return failure_message([self.code, *self.params])


def success_message(result):
    return {"Status": "Success", "Value": result}


def failure_message(description):
    return {"Status": "Failure", "ErrorDescription": [str(one) for one in description]}


def print_message(message):
    print(xmlrpc.client.dumps((message,), methodresponse=True, allow_none=True), flush=True)


def session_of(reference):
    try:
        import XenAPI
    except ImportError:
        return reference
    if not os.path.exists(LOCAL_SOCKET):
        return reference
    session = XenAPI.xapi_local()
    session._session = reference
    return session


def dispatch(functions):
    """Runs the call of the command line by the function of its name. Ends the program."""
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} CALL", file=sys.stderr)
        sys.exit(1)
    (reference, arguments), name = xmlrpc.client.loads(sys.argv[1])
    try:
        if name not in functions:
            raise Failure("UNKNOWN_XENAPI_PLUGIN_FUNCTION", [name])
        answer = functions[name](session_of(reference), arguments)
        print_message(success_message(str(answer)))
    except Failure as failure:
        print_message(failure.rpc_failure())
    except Exception as error:
        details = getattr(error, "details", None)
        if isinstance(details, list):  # a call of the API that failed in the plug-in
            print_message(failure_message(details))
        else:
            print_message(failure_message(["XENAPI_PLUGIN_FAILURE", name, type(error).__name__,
                                           str(error) or traceback.format_exc()]))
