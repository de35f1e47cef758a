"""The verbs of ./dev."""

import argparse
import subprocess
import sys
from pathlib import Path

import boot
import build
import iso
import run
import testing
from paths import DevError, default_state

HELP = """\
./dev VERB

  run       build, start one or more hosts, and serve until Ctrl-C (or, with --detach, until
            stop); prints `ready https://127.0.0.1:N user root password P` once it serves
  stop      end a run and everything in it, guests included
  xe        the command-line client, inside a running host: ./dev xe vm-list
  test      run the tests: all of them, or those of the labels given
            (unit golden contract sim api style fuzz web, and by name only: appliance, which makes
            the medium and boots it in QEMU, an hour and more, and medium, a quarter of an hour of
            that); `test --also medium` is everything else and that, as .ci/run has it; `test sim
            --seeds N` runs N pools of random work and random faults, and prints the seeds that fail
  build     compile what ships, or the targets given (such as tests)
  bench     run the benchmarks
  iso       make the medium that a server boots from: Xen, the control domain, our packages
  boot      boot it in QEMU: ./dev boot --uefi; the serial console is on standard output
  golden    let the golden tests write their files anew; read the diff before committing it
  shell     a shell in the build root, or with --state or --host in a running host
  fmt       clang-format the C++ sources
  help      this text; ./dev VERB --help lists the options

Everything that can be made again (build root, guest image, compiler cache) lies in
${BASALT_CACHE:-/var/cache/basalt}. Packages come from the mirrors of this machine's apt, or from
DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR.
"""


def parser():
    top = argparse.ArgumentParser(prog="./dev", usage=HELP, add_help=False)
    verbs = top.add_subparsers(dest="verb", required=True)

    def verb(name, function, *, preset=False, state=False):
        added = verbs.add_parser(name, prog=f"./dev {name}")
        added.set_defaults(function=function)
        if preset:
            added.add_argument("--preset", choices=["release", "dev", "tsan"], default="release")
        if state:
            added.add_argument("--state", type=Path, default=default_state(), metavar="DIR",
                               help="the folder that holds the run (default: %(default)s)")
        return added

    added = verb("run", run.run, preset=True, state=True)
    added.add_argument("--port", type=int, default=8443, metavar="N", help="0: any free one")
    added.add_argument("--hosts", type=int, default=1, metavar="N")
    added.add_argument("--password", metavar="P")
    added.add_argument("--detach", action="store_true", help="return once it serves")
    added.add_argument("--no-template", action="store_true", help="without the guest image")
    added.add_argument("--no-web", action="store_true", help="without the web console")
    added.add_argument("--fault-points", action="store_true",
                       help="for tests: a daemon dies at the moment that HOST/fault/NAME/die names")
    added.add_argument("--programs", type=Path, help=argparse.SUPPRESS)
    verb("stop", run.stop, state=True)
    verb("status", run.status, state=True)
    added = verb("xe", run.xe, state=True)
    added.add_argument("--host", type=int, default=1)
    added.add_argument("arguments", nargs=argparse.REMAINDER)
    added = verb("test", testing.test, preset=True)
    added.add_argument("labels", nargs="*", metavar="LABEL")
    added.add_argument("--also", action="append", choices=sorted(testing.ON_REQUEST),
                       help="beside what else is run; otherwise run by name only")
    seeds = added.add_argument_group("random work and faults on simulated pools (label sim)")
    seeds.add_argument("--seeds", type=int, metavar="N", help="run N seeds instead of the tests")
    seeds.add_argument("--first", type=int, metavar="SEED", help="the first one; else random")
    seeds.add_argument("--hosts", type=int, default=64, metavar="N", help="default: %(default)s")
    seeds.add_argument("--steps", type=int, default=300, metavar="N",
                       help="calls and faults a seed; default: %(default)s")
    added = verb("build", lambda args: build.build(args.preset, args.targets) or 0, preset=True)
    added.add_argument("targets", nargs="*", metavar="TARGET",
                       help="such as tests or benches; default: what ships")
    added = verb("bench", build.bench, preset=True)
    added.add_argument("what", nargs="?", choices=["vm"],
                       help="the life of VMs beside QEMU alone; else the daemons under load")
    added.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTION",
                       help="of tests/bench/vm_bench.py")
    added = verb("iso", iso.iso, preset=True)
    added.add_argument("--out", type=Path, metavar="FILE", help="default: build/basalt.iso")
    added.add_argument("--level", type=int, default=iso.LEVEL, metavar="N",
                       help="zstd's, 1 to 22: less is faster and larger (default: %(default)s)")
    added.add_argument("--no-firmware", action="store_true",
                       help="without what hardware loads from Debian's non-free-firmware")
    added.add_argument("--xen-source", type=Path, metavar="DIR",
                       help="compiles the hypervisor from this source tree of Xen, with shadow "
                       "paging, instead of taking Debian's (docs/decisions/0020)")
    ovmf = added.add_mutually_exclusive_group()
    ovmf.add_argument("--ovmf-source", type=Path, metavar="DIR",
                      help="compiles the UEFI of guests from this source tree of edk2, instead of "
                      "fetching Debian's (docs/decisions/0025)")
    ovmf.add_argument("--no-ovmf", action="store_true",
                      help="without it: hosts start no guest by UEFI")
    added = verb("boot", boot.boot)
    added.add_argument("--image", type=Path, metavar="FILE", help="default: build/basalt.iso")
    added.add_argument("--uefi", action="store_true", help="by OVMF instead of SeaBIOS")
    added.add_argument("--port", type=int, default=8443, metavar="N",
                       help="of this machine, for the host's 443 (default: %(default)s)")
    added.add_argument("--memory", type=int, default=4096, metavar="MIB")
    verb("golden", testing.golden, preset=True)
    added = verb("shell", run.shell)
    added.set_defaults(default_state=default_state())
    added.add_argument("--state", type=Path, metavar="DIR")
    added.add_argument("--host", type=int, metavar="N")
    added.add_argument("arguments", nargs=argparse.REMAINDER, metavar="COMMAND")
    verb("fmt", build.fmt)
    return top


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("help", "-h", "--help"):
        print(HELP, end="")
        return 0
    args = parser().parse_args()
    try:
        return args.function(args)
    except DevError as error:
        print(f"dev: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"dev: {error.cmd[0]} ended with {error.returncode}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
