#!/usr/bin/python3 -I
"""The console of a host, on the machine's own screen: its state for everybody who stands there, and
a menu that root's password opens. systemd starts it instead of a login on tty1; the other terminals
have logins.
"""

import curses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import menu
import screen
from host import LOGS, Failed, Host, Refused

ATTENDED_SECONDS = 5
UNATTENDED_SECONDS = 20
IDLE_SECONDS = 300
FOOT = "Up and Down choose, Enter acts"


class Watch:
    """Reads the facts again and again beside the screen: the API may take its time. Often while
    somebody is at the keyboard and until the services answer, else now and then."""

    def __init__(self, host):
        self.host = host
        self.details = ()
        self.attended = False
        self.facts = host.facts()
        self.wanted = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def look_at(self, detail):
        """What only one item needs is read as soon as somebody chooses it."""
        self.details = (detail,) if detail else ()
        if detail:
            self.wanted.set()

    def _run(self):
        while True:
            often = self.attended or not self.facts.known
            self.wanted.wait(ATTENDED_SECONDS if often else UNATTENDED_SECONDS)
            self.wanted.clear()
            self.facts = self.host.facts(self.details)


class Console:
    """`clock`: seconds, for who is idle."""

    def __init__(self, window, host, clock=time.monotonic):
        self.screen = screen.Screen(window)
        self.host = host
        self.watch = Watch(host)
        self.clock = clock
        self.selected = 0
        self.logged_in = False
        self.touched = clock()

    def run(self):
        while True:
            self.draw()
            key = self.screen.key()
            if key == -1:
                if self.clock() - self.touched > IDLE_SECONDS:
                    self.logged_in, self.watch.attended = False, False
                    self.select(0)
                continue
            self.touched, self.watch.attended = self.clock(), True
            if key in (curses.KEY_UP, curses.KEY_DOWN):
                step = 1 if key == curses.KEY_DOWN else -1
                self.select((self.selected + step) % len(menu.ITEMS))
            elif key in screen.ENTER:
                self.act(menu.ITEMS[self.selected])

    def select(self, number):
        self.selected = number
        self.watch.look_at(menu.ITEMS[number].detail)

    def draw(self):
        facts, item = self.watch.facts, menu.ITEMS[self.selected]
        who = "root" if self.logged_in else "nobody logged in"
        hint = f"{FOOT}: {item.hint}" if item.hint else FOOT
        self.screen.draw(f"{facts.product}   {facts.hostname}   {who}",
                         [one.title for one in menu.ITEMS], self.selected, item.lines(facts), hint)

    def act(self, item):
        if not item.act or (item.guarded and not self.log_in()):
            return
        try:
            getattr(self, item.act)()
        except (Failed, Refused) as error:
            self.screen.say(item.title, str(error))
        self.touched = self.clock()

    # -- who ----------------------------------------------------------------------------------------

    def log_in(self):
        """Whether root is there, asked if need be."""
        if self.logged_in:
            return True
        password = self.screen.ask("Log in", "Root's password:", secret=True)
        if password is None:
            return False
        self.logged_in = self.host.password_is_right(password)
        if self.logged_in:
            # Below the windows that come now the heading says who is there.
            self.draw()
        else:
            self.screen.say("Log in", "That is not the password.")
        return self.logged_in

    def log_in_or_out(self):
        if self.logged_in:
            self.logged_in = False
        else:
            self.log_in()

    # -- what ---------------------------------------------------------------------------------------

    def working(self, title, text, do):
        self.screen.say(title, text, wait=False)
        do()
        self.watch.facts = self.host.facts()

    def change_network(self):
        title, facts = "Management network", self.watch.facts
        how = self.screen.choose(title, f"The address of {facts.device} is now {facts.address}. "
                                 "Clients lose their connections when it changes.",
                                 ["Leave it", "By DHCP", "A fixed address", "IPv6 ..."])
        if how == 1:
            self.working(title, "Asking the DHCP server ...",
                         lambda: self.host.set_network(facts, "dhcp"))
        if how == 2:
            self.change_to_fixed(title, facts)
        if how == 3:
            self.change_ipv6(facts)

    def change_to_fixed(self, title, facts):
        questions = [("Address with its prefix, as in 192.0.2.10/24:", facts.address),
                     ("Router (empty: none):", facts.gateway),
                     ("Name servers, with spaces between them:", " ".join(facts.dns))]
        if answers := self.ask_all(title, questions):
            address, gateway, dns = answers
            self.working(title, "Changing the address ...",
                         lambda: self.host.set_network(facts, address, gateway, dns.split()))

    def ask_all(self, title, questions):
        """The lines that were typed; None when Escape was pressed at one of them."""
        answers = []
        for question, before in questions:
            answers.append(self.screen.ask(title, question, before))
            if answers[-1] is None:
                return None
        return answers

    def change_ipv6(self, facts):
        title = "Management network: IPv6"
        modes = ["", "None", "Autoconf", "DHCP", "Static"]
        how = self.screen.choose(
            title, f"It is now: {' '.join([*facts.ipv6, facts.ipv6_how or 'not known'])}.",
            ["Leave it", "No IPv6", "As routers announce", "By DHCP", "A fixed address"])
        if not how:
            return
        if modes[how] != "Static":
            self.working(title, "Changing the address ...",
                         lambda: self.host.set_ipv6(facts, modes[how]))
            return
        fixed = facts.ipv6[0] if facts.ipv6 and facts.ipv6_how == "fixed" else ""
        if answers := self.ask_all(title, [
                ("Address with its prefix, as in 2001:db8::10/64:", fixed),
                ("Router (empty: none):", facts.gateway6),
                ("Name servers of IPv6 (empty: those there are):", "")]):
            address, gateway, dns = answers
            self.working(title, "Changing the address ...", lambda: self.host.set_ipv6(
                facts, "Static", address, gateway, dns.split()))

    def show_logs(self):
        names = list(LOGS)
        if (chosen := self.screen.choose("Logs", "Of what?", names)) is not None:
            self.screen.page(names[chosen], self.host.log(names[chosen]))

    def restart_toolstack(self):
        self.working("Restart the services", "They are being started again ...",
                     self.host.restart_toolstack)

    def open_shell(self):
        curses.endwin()
        print("\n`exit` goes back to the host's console.", flush=True)
        subprocess.run(["/bin/bash", "--login"], cwd="/root", check=False,
                       env={**os.environ, "HOME": "/root", "USER": "root", "LOGNAME": "root"})
        self.screen.window.clear()

    def power(self, title, verb):
        if self.screen.choose(title, f"{self.watch.facts.running} VMs run on it now.", ["No", "Yes"]) == 1:
            self.host.power(verb)
            self.screen.say(title, "It has begun.", wait=False)

    def reboot(self):
        self.power("Restart the machine", "reboot")

    def power_off(self):
        self.power("Switch the machine off", "poweroff")


def main(host=None):
    # A console that ends is started again by systemd; keys like Ctrl-C are keys (raw).
    curses.wrapper(lambda window: Console(window, host or Host()).run())


if __name__ == "__main__":
    main()
