"""The XML answer file that users of existing installers have."""

import re
from xml.etree import ElementTree

from answers import (BACKENDS, LEARNT, MISSING, NO_ADDRESS, UPGRADE, Answers, Refused,
                     checked_hostname, checked_keymap, checked_network, checked_ntp, checked_script,
                     checked_sr_type, checked_timezone, checked_vlan, checked_whole, password)

# Elements that say what happens here anyway, or what has no meaning without the other product.
WITHOUT_EFFECT = {"bootloader": "it is GRUB, for BIOS and UEFI",
                  "source": "what is installed is on the medium"}
KNOWN = {"primary-disk", "guest-disks", "guest-disk", "admin-interface", "root-password",
         "name-server", "nameserver", "hostname", "timezone", "ntp", "ntp-server", "ntp-servers",
         "keymap", "network-backend", "script", "post-install-script", "install-failed-script",
         "ui-confirmation-prompt", *WITHOUT_EFFECT}
# A host that is there is made anew, with its local SR.
REINSTALL = "reinstall"
KNOWN_AGAIN = KNOWN - {"guest-disks", "guest-disk"} | {"existing-installation"}
NOT_DONE = {"driver-source": "there are no driver packs: the medium has all drivers of its kernel",
            "backup-disk": "there are no backups of a host's disk to go back to"}


def from_xml(text, hash_password):
    # No document type: entities could grow without bound.
    if "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL):
        raise Refused("The answer file has declarations, which no answer file needs.")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Refused(f"The answer file cannot be read: {error}.") from error
    mode = root.get("mode", "fresh")
    if root.tag != "installation" or mode not in ("fresh", REINSTALL, UPGRADE):
        raise Refused("This installer installs, installs again and upgrades only: "
                      "<installation mode=\"fresh\">, reinstall or upgrade.")
    if mode == UPGRADE:
        return xml_upgrade(root)
    for element in root:
        if element.tag in NOT_DONE:
            raise Refused(f"<{element.tag}>: {NOT_DONE[element.tag]}.")
        if element.tag not in (KNOWN_AGAIN if mode == REINSTALL else KNOWN):
            raise Refused(f"This installer does not know what to do with <{element.tag}>.")
    notes = []
    source, servers = xml_ntp(root)
    # The other installer takes such a processor without a word.
    return checked_whole(Answers(
        password_hash=xml_password(required(root, "root-password"), hash_password),
        **(xml_disks_again if mode == REINSTALL else xml_disks)(root, notes),
        network=xml_network(required(root, "admin-interface"), texts(root, "name-server"),
                            xml_backend(root)),
        hostname=checked_hostname(content(root.find("hostname")) or "localhost.localdomain"),
        timezone=checked_timezone(content(root.find("timezone")) or Answers.timezone),
        keymap=checked_keymap(content(root.find("keymap")) or Answers.keymap),
        ntp=servers, ntp_source=source, scripts=xml_scripts(root), pv_only=True,
        confirm=is_true(content(root.find("ui-confirmation-prompt"))),
        notes=tuple(notes + other_ways(root))))


def xml_upgrade(root):
    known = ("existing-installation", "ui-confirmation-prompt", "script", *WITHOUT_EFFECT)
    for element in root:
        if element.tag not in known:
            raise Refused("An upgrade keeps what the host was told: "
                          f"<{element.tag}> has no place in its answers.")
    return Answers(mode=UPGRADE, disk=disk_path(content(required(root, "existing-installation"))),
                   scripts=xml_scripts(root),
                   confirm=is_true(content(root.find("ui-confirmation-prompt"))))


# -- elements -------------------------------------------------------------------------------------------


def content(element):
    return "" if element is None else (element.text or "").strip()


# Spellings of earlier years.
ALIASES = {"name-server": ("name-server", "nameserver"),
           "ntp-server": ("ntp-server", "ntp-servers")}


def texts(root, tag):
    return [content(one) for alias in ALIASES[tag] for one in root.findall(alias)]


def required(root, tag):
    element = root.find(tag)
    if element is None:
        raise Refused(f"The answer file has no <{tag}>.")
    return element


def is_true(text):
    word = (text or "false").lower()
    if word not in ("true", "false", "yes", "no", "if-utility"):
        raise Refused(f"{text!r} is neither true nor false.")
    return word in ("true", "yes")


def disk_path(name):
    if not name:
        raise Refused("The answer file names no disk.")
    return name if name.startswith("/dev/") else f"/dev/{name}"


def other_ways(root):
    """What is done otherwise than the file says."""
    source = root.find("source")
    if content(source) and source.get("type") != "local":
        return ["Nothing is fetched from a repository: what is installed is on the medium."]
    return []


# -- disks ----------------------------------------------------------------------------------------------


def xml_disks(root, notes):
    """The members of Answers that say what disks are for."""
    primary = required(root, "primary-disk")
    disk, mirror = xml_mirror(primary)
    if is_true(primary.get("sr-at-end")) or is_true(primary.get("preserve-first-partition")):
        notes.append("The whole disk is partitioned anew, with the local SR at its end.")
    guests = [disk_path(content(one)) for one in
              [*root.findall("guest-disk"), *root.findall("guest-disks/guest-disk")]]
    others = tuple(one for one in guests if one not in (disk, mirror))
    local = is_true(primary.get("guest-storage", primary.get("gueststorage", "true")))
    kind = root.get("sr-type", root.get("srtype", "lvm"))
    if kind == "lvm":
        kind = Answers.sr_type
        if local or others:
            notes.append("The local SR holds files on ext4: there is no SR of type lvm.")
    return {"disk": disk, "mirror": mirror, "guest_disks": others,
            "local_sr": local or len(others) < len(guests), "sr_type": checked_sr_type(kind)}


def xml_disks_again(root, notes):
    """The same of a host that is installed again: its partitions stay."""
    disk = disk_path(content(required(root, "existing-installation")))
    primary = root.find("primary-disk")
    if primary is not None and disk_path(content(primary)) != disk:
        raise Refused(f"The host on {disk} is installed again where it is, and nowhere else.")
    notes.append("The local SR stays with what is in it; of the system before no backup is kept.")
    return {"disk": disk, "reuse": True}


def xml_mirror(primary):
    """(disk, mirror): two devices with a comma between them are a mirror, one of which may not be
    there yet."""
    names = [name.strip() for name in content(primary).split(",")]
    if not is_true(primary.get("swraid")):
        if len(names) > 1:
            raise Refused("Several primary disks are a mirror, which asks for swraid=\"true\".")
        return disk_path(names[0]), ""
    if len(names) != 2 or names.count(MISSING) > 1:
        raise Refused("A mirror is made of two disks with a comma between them, one of which "
                      f"may be {MISSING!r}.")
    first, second = sorted(names, key=lambda name: name == MISSING)
    return disk_path(first), second if second == MISSING else disk_path(second)


# -- the rest -------------------------------------------------------------------------------------------


def xml_password(element, hash_password):
    if element.get("type", "plaintext") == "hash":
        if content(element) in ("", "!!"):
            raise Refused("Root's password cannot be left to the first start: the answer file "
                          "has to have one.")
        return password("", content(element), hash_password)
    return password(content(element), "", hash_password)


def xml_backend(root):
    """Open vSwitch has two names."""
    word = content(root.find("network-backend"))
    return BACKENDS[0] if word in ("", "vswitch") else word


def xml_network(element, dns, backend):
    device = element.get("name") or element.get("hwaddr", "").lower()
    if "," in device or device.startswith("bond"):
        raise Refused("A bond is asked for in an answer file of our own (TOML): network.bond.")
    kind = element.get("proto", "")
    if kind not in ("dhcp", "static", "none"):
        raise Refused(f"<admin-interface> has the proto {kind!r}, not dhcp, static or none.")
    address, gateway = {"dhcp": "dhcp", "none": NO_ADDRESS}.get(kind, ""), ""
    if kind == "static":
        number = content(element.find("ipaddr")) or content(element.find("ip"))
        mask = content(element.find("subnet")) or content(element.find("subnet-mask"))
        address, gateway = f"{number}/{mask}", content(element.find("gateway"))
    ipv6, gateway6 = xml_ipv6(element)
    return checked_network(device, address, gateway, dns, ipv6=ipv6, gateway6=gateway6,
                           backend=backend,
                           vlan=checked_vlan(element.get("vlan", "")))


def xml_ipv6(element):
    kind = element.get("protov6", "none")
    if kind == "none":
        return "", ""
    if kind == "static":
        return content(element.find("ipv6")), content(element.find("gatewayv6"))
    if kind not in LEARNT:
        raise Refused(f"<admin-interface> has the protov6 {kind!r}, "
                      "not static, dhcp, autoconf or none.")
    return kind, ""


def xml_ntp(root):
    element = root.find("ntp")
    return checked_ntp("" if element is None else element.get("source", ""),
                       texts(root, "ntp-server"))


def xml_scripts(root):
    """The spellings of earlier years say by their names when they run."""
    found = [checked_script(one.get("stage", ""), xml_url(one)) for one in root.findall("script")]
    for one in root.findall("post-install-script"):
        stage = one.get("stage", "filesystem-populated")
        found.append(checked_script(stage, xml_url(one)))
    if root.find("install-failed-script") is not None:
        raise Refused("<install-failed-script>: write a <script stage=\"installation-complete\">, "
                      "which is told 0 or 1.")
    return tuple(found)


def xml_url(element):
    """NFS is also written without its scheme: SERVER:/PATH."""
    text = content(element)
    kind = element.get("type", "url")
    if kind not in ("nfs", "url"):
        raise Refused(f"A script's type is url or nfs, not {kind!r}.")
    if kind == "nfs" and "://" not in text:
        server, _, path = text.partition(":")
        return f"nfs://{server}/{path.lstrip('/')}"
    # The other spelling of the same.
    return re.sub(r"^nfs://([^/:]+):/", r"nfs://\1/", text)
