"""The console's screen by curses: a menu on the left, what belongs to it on the right, and small
windows that ask something. Draws what it is told and returns what was typed; knows no host.
"""

import curses
import textwrap

WIDTH_MIN, HEIGHT_MIN = 60, 18
MENU_WIDTH = 26
LABEL_WIDTH = 15
ENTER = (10, 13, curses.KEY_ENTER)
ERASE = (8, 127, curses.KEY_BACKSPACE)
ESCAPE = 27
# How long a key is waited for before the screen is drawn anew.
TICK_MS = 1000


class Screen:
    def __init__(self, window):
        self.window = window
        self.title = 0
        curses.raw()
        window.keypad(True)
        curses.set_escdelay(100)
        self.cursor(False)
        if curses.has_colors():
            curses.use_default_colors()
            curses.init_pair(1, curses.COLOR_WHITE, curses.COLOR_BLUE)
            curses.init_pair(2, curses.COLOR_CYAN, -1)
        self.bar = curses.color_pair(1) | curses.A_BOLD if curses.has_colors() else curses.A_REVERSE
        self.label = curses.color_pair(2) if curses.has_colors() else curses.A_BOLD

    @staticmethod
    def cursor(shown):
        try:
            curses.curs_set(1 if shown else 0)
        except curses.error:
            pass  # a terminal that cannot hide it

    def put(self, window, row, column, text, attribute=0):
        """Cut off at the edge; curses raises for what does not fit."""
        height, width = window.getmaxyx()
        if 0 <= row < height and column < width - 1:
            window.addnstr(row, column, text, width - 1 - column, attribute)

    def key(self):
        """The next key, or -1 when none came within a tick."""
        self.window.timeout(TICK_MS)
        return self.window.getch()

    # -- the whole ----------------------------------------------------------------------------------

    def draw(self, heading, titles, selected, lines, foot):
        """`lines`: (label, text) of the selected item; a text may have lines of its own."""
        self.window.erase()
        height, width = self.window.getmaxyx()
        if width < WIDTH_MIN or height < HEIGHT_MIN:
            self.put(self.window, 0, 0, heading)
            self.put(self.window, 1, 0, "This terminal is too small for the menu.")
            self.window.refresh()
            return
        self.draw_bar(0, heading)
        for row, title in enumerate(titles):
            mark = curses.A_REVERSE if row == selected else 0
            self.put(self.window, row + 2, 1, f" {title} ".ljust(MENU_WIDTH), mark)
        self.draw_pane(titles[selected], lines, width, height)
        self.draw_bar(height - 1, foot)
        self.window.refresh()

    def draw_bar(self, row, text):
        """From edge to edge: the last cell of all cannot be written, but coloured."""
        self.put(self.window, row, 1, text)
        self.window.chgat(row, 0, self.bar)

    def draw_pane(self, title, lines, width, height):
        left = MENU_WIDTH + 3
        self.put(self.window, 2, left, title, curses.A_BOLD)
        row = 4
        for label, text in lines:
            indent = LABEL_WIDTH if label else 0
            self.put(self.window, row, left, label[:LABEL_WIDTH - 1], self.label)
            room = max(width - left - indent - 1, 10)
            for part in [part for line in text.split("\n") for part in
                         textwrap.wrap(line, room) or [""]]:
                if row < height - 2:
                    self.put(self.window, row, left + indent, part)
                row += 1

    # -- windows over it ----------------------------------------------------------------------------

    def box(self, title, rows, columns):
        """A framed window in the middle, over nothing but the whole."""
        self.window.touchwin()
        self.window.refresh()
        height, width = self.window.getmaxyx()
        rows, columns = min(rows + 4, height), min(columns + 4, width)
        window = curses.newwin(rows, columns, (height - rows) // 2, (width - columns) // 2)
        window.keypad(True)
        window.erase()
        window.box()
        self.put(window, 0, 2, f" {title} ", curses.A_BOLD)
        return window

    def columns(self):
        return min(64, self.window.getmaxyx()[1] - 6)

    def say(self, title, text, wait=True):
        """With `wait`, until a key is pressed."""
        lines = textwrap.wrap(text, self.columns())
        window = self.box(title, len(lines) + (2 if wait else 0), self.columns())
        for row, line in enumerate(lines):
            self.put(window, row + 2, 2, line)
        if wait:
            self.put(window, len(lines) + 3, 2, "Press a key.", self.label)
        window.refresh()
        if wait:
            window.getch()

    def choose(self, title, text, options):
        """The number of the chosen option; None when Escape was pressed."""
        lines = textwrap.wrap(text, self.columns())
        window = self.box(title, len(lines) + len(options) + 1, self.columns())
        chosen = 0
        while True:
            for row, line in enumerate(lines):
                self.put(window, row + 2, 2, line)
            for row, option in enumerate(options):
                mark = curses.A_REVERSE if row == chosen else 0
                self.put(window, len(lines) + row + 3, 2, f" {option} ", mark)
            window.refresh()
            key = window.getch()
            if key in ENTER:
                return chosen
            if key == ESCAPE:
                return None
            if key in (curses.KEY_UP, curses.KEY_DOWN):
                chosen = (chosen + (1 if key == curses.KEY_DOWN else -1)) % len(options)

    def ask(self, title, question, text="", secret=False):
        """The line that was typed; None when Escape was pressed."""
        window = self.box(title, 3, self.columns())
        self.cursor(True)
        try:
            while True:
                room = self.columns() - 1
                shown = ("*" * len(text) if secret else text)[-room:]
                self.put(window, 2, 2, question)
                self.put(window, 4, 2, shown.ljust(room), curses.A_UNDERLINE)
                window.move(4, 2 + len(shown))
                window.refresh()
                key = window.getch()
                if key in ENTER:
                    return text
                if key == ESCAPE:
                    return None
                if key in ERASE:
                    text = text[:-1]
                elif 32 <= key < 127:
                    text += chr(key)
        finally:
            self.cursor(False)

    def page(self, title, lines):
        """A text to look through, from its end; Escape or q ends it."""
        height, _ = self.window.getmaxyx()
        room = height - 2
        top = max(len(lines) - room, 0)
        while True:
            self.window.erase()
            self.draw_bar(0, title)
            for row, line in enumerate(lines[top:top + room]):
                self.put(self.window, row + 1, 0, line.expandtabs())
            self.draw_bar(height - 1, "Up, Down, Page Up, Page Down; Escape ends")
            self.window.refresh()
            key = self.key()
            if key in (ESCAPE, ord("q")):
                return
            step = {curses.KEY_UP: -1, curses.KEY_DOWN: 1, curses.KEY_PPAGE: -room,
                    curses.KEY_NPAGE: room, curses.KEY_HOME: -len(lines),
                    curses.KEY_END: len(lines)}.get(key, 0)
            top = max(0, min(top + step, len(lines) - room))
