"""Takes the steps of a plan, one by one, and keeps a log."""

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import plan


class Failed(Exception):
    """What was being done, and what went wrong."""


def run(step):
    try:
        done = subprocess.run(step.argv, input=step.text, cwd=step.folder or None, text=True,
                              capture_output=True, errors="replace", check=False)
    except OSError as error:
        raise Failed(f"{step.name}: {error}") from error
    if done.returncode not in step.fine:
        words = (done.stderr or done.stdout).strip()
        raise Failed(f"{step.name}: {step.argv[0]} ended with {done.returncode}: {words}")
    return (done.stdout + done.stderr).strip()


def write(step):
    """Durable when it returns."""
    fresh = f"{step.path}.new"
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, step.mode), "w",
                  encoding="utf-8") as file:
            os.fchmod(file.fileno(), step.mode)
            file.write(step.text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, step.path)
    except OSError as error:
        raise Failed(f"{step.name}: {error}") from error
    return ""


def take(step):
    return run(step) if step.argv else write(step)


def let_go():
    """After a failure nothing stays mounted, so that the next attempt can begin anew."""
    for place in (plan.ROOT, plan.IMAGE, plan.BOOT, f"{plan.BOOT}2", plan.STATE):
        subprocess.run(["umount", place], stderr=subprocess.DEVNULL, check=False)


def execute(made, log, say, take_step=take):
    """Throws Failed, with nothing left mounted. `say` gets a line a step, the file `log` all. Then
    come the steps `after`, whatever happened before."""
    def note(text):
        note_in(log, text)

    note(plan.text_of(made))
    outcome = "1"
    try:
        take_all(made.steps, say, note, take_step)
        outcome = "0"
    finally:
        for step in made.after:
            finish(replace(step, argv=(*step.argv, outcome)), say, note, take_step)
    note("installed")


def note_in(log, text):
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def take_all(steps, say, note, take_step):
    for number, step in enumerate(steps, 1):
        say(f"[{number}/{len(steps)}] {step.name}")
        note(plan.describe(step))
        try:
            words = take_step(step)
        except Failed as error:
            note(f"failed: {error}")
            let_go()
            raise
        if words:
            note(words)


def finish(step, say, note, take_step):
    """What a person has added for the end must not hide what happened before it."""
    say(step.name)
    note(plan.describe(step))
    try:
        note(take_step(step) or "done")
    except Failed as error:
        say(f"It failed: {error}")
        note(f"failed: {error}")
