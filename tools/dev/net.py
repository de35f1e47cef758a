"""The network of a run: a LAN and the hosts on it, each a network namespace without a name.

A namespace lives as long as its holder process does, so that nothing is left when the sandbox
ends. No interface of the machine itself is ever touched: every veth is made inside the LAN.
"""

import os
import socket
import subprocess
import threading

SUBNET = "10.71.0"
BRIDGE = "lan0"

# /sys shows the interfaces of the namespace in which it was mounted; cgroups are kept from outside.
HOLDER = """
set -e
mount --bind "$1" /var/lib/xcp
mkdir -p /run/outer-cgroup && mount --rbind /sys/fs/cgroup /run/outer-cgroup || true
mount -t sysfs sysfs /sys && mount --rbind /run/outer-cgroup /sys/fs/cgroup || true
ip link set lo up
echo up
exec sleep infinity
"""


def hold(xcp_folder):
    """Starts the holder of a new network and mount namespace; its pid names both."""
    argv = ["unshare", "--net", "--mount", "--propagation", "private",
            "sh", "-c", HOLDER, "holder", str(xcp_folder)]
    holder = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if holder.stdout.readline().strip() != "up":
        raise OSError("a network namespace could not be made")
    return holder.pid


def inside(pid, *argv):
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *argv], check=True,
                   stdout=subprocess.DEVNULL)


def make_lan(pid):
    inside(pid, "ip", "link", "add", BRIDGE, "type", "bridge", "stp_state", "0")
    inside(pid, "ip", "address", "add", f"{SUBNET}.1/24", "dev", BRIDGE)
    inside(pid, "ip", "link", "set", BRIDGE, "up")


def plug_host(lan, host_pid, index, mac):
    """Gives host `index` its eth0, the other end of which is a port of the LAN's bridge."""
    port = f"host{index}"
    inside(lan, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0",
           "address", mac, "netns", str(host_pid))
    inside(lan, "ip", "link", "set", port, "master", BRIDGE, "up")
    # User-space switching loses TCP when checksums are left to hardware that is not there.
    inside(lan, "ethtool", "-K", port, "tx", "off")
    inside(host_pid, "ethtool", "-K", "eth0", "tx", "off")
    address_host(host_pid, index)


def address_host(host_pid, index):
    """As the machine's own start does: the address is eth0's until a switch takes it over."""
    inside(host_pid, "ip", "address", "replace", f"{address(index)}/24", "dev", "eth0")
    inside(host_pid, "ip", "link", "set", "eth0", "up")


def address(index):
    return f"{SUBNET}.{index + 1}"


def dhcp_command(folder):
    """dnsmasq as the LAN's DHCP and DNS server: addresses, but no gateway and no way out."""
    return ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root",
            f"--interface={BRIDGE}", "--bind-interfaces", "--no-resolv", "--no-hosts",
            f"--dhcp-range={SUBNET}.100,{SUBNET}.250,1h", "--dhcp-option=3",
            "--dhcp-authoritative", f"--dhcp-leasefile={folder}/leases",
            f"--pid-file={folder}/dnsmasq.pid", "--log-facility=-"]


def listening_socket(pid, host, port):
    """A listening TCP socket that belongs to the network namespace of `pid` (0: our own)."""
    result = []

    def make():
        # setns changes the calling thread only, hence a thread of its own.
        if pid:
            with open(f"/proc/{pid}/ns/net", "rb") as namespace:
                os.setns(namespace.fileno(), os.CLONE_NEWNET)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(1024)
            result.append(listener)
        except OSError as error:
            listener.close()
            result.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise OSError(f"cannot listen on {host}:{port}: {result[0].strerror}")
    return result[0]
