// The whole of storage as hostd uses it: workers, storage daemons, transfers, restarts.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "base/json.hpp"
#include "base/real_net.hpp"
#include "base/subprocess.hpp"
#include "storage-manager/contract/bench.hpp"
#include "storage-manager/manager/real_storage.hpp"

namespace basalt::sm::test {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t mib = 1024 * 1024;
const std::string sr_a = "5e000000-0000-4000-8000-000000000001";
const std::string sr_b = "5e000000-0000-4000-8000-000000000002";
const std::string sr_iso = "5e000000-0000-4000-8000-000000000003";
const std::string disk_a = "aa000000-0000-4000-8000-00000000000a";
const std::string disk_b = "bb000000-0000-4000-8000-00000000000b";
const std::string disk_c = "cc000000-0000-4000-8000-00000000000c";
const std::string vm = "f0000000-0000-4000-8000-00000000000f";

agent::DiskRef disk_ref(const std::string& vdi, const std::string& sr = sr_a) {
    return {sr, vdi, vdi};
}

agent::DiskSpec plug(const std::string& vdi, agent::Access access = agent::Access::rw) {
    agent::DiskSpec spec;
    spec.device = "xvda";
    spec.access = access;
    spec.disk = disk_ref(vdi);
    return spec;
}

// A host's folders, with hostd's storage made and unmade on them.
struct Host {
    Host() {
        for (const char* name : {"a", "b", "iso"})
            fs::create_directory(folder.path() / name);
        confinement = std::make_shared<Confinement>(
            loop, Confinement::Config{.launcher = CONFINE,
                                      .cgroup = "basalt-test-" + std::to_string(::getpid()),
                                      .slots = {66000, 100, folder.path() / "users"}});
    }

    // Guests' daemons outlive a manager: end them with the test.
    Task<void> clean_up() {
        if (!storage) co_return;
        co_await storage->close_all(vm);
        storage.reset();
        confinement->groups.remove("");
    }

    Task<void> boot(WorkerLimits limits = {}) {
        storage.reset();
        RealStorageConfig config;
        config.run_folder = folder.path() / "run";
        config.state_file = folder.path() / "state" / "storage.json";
        config.work_folder = folder.path() / "work";
        config.worker_program = SM_WORKER;
        config.stream_program = SM_STREAM;
        config.limits = limits;
        config.confinement = confinement;
        storage = real_storage(loop, config);
        co_await storage->adopt();
    }

    Task<void> attach(std::string sr, std::string type, std::string name) {
        agent::SrAttachArgs args;
        args.uuid = sr;
        args.type = type;
        args.device_config = {{"location", (folder.path() / name).string()}};
        co_await storage->sr_attach(args);
    }

    Task<void> ready() {
        co_await boot();
        co_await attach(sr_a, "file", "a");
    }

    Task<void> create(std::string vdi, std::int64_t size = 8 * mib) {
        agent::VdiCreateArgs args;
        args.sr = sr_a;
        args.spec = spec_of(vdi, size);
        co_await storage->vdi_create(args);
    }

    Task<std::string> receive(UniqueFd fd) {
        const auto stream = adopt_stream(loop, std::move(fd));
        std::string out;
        std::array<char, 65536> buffer{};
        while (const std::size_t got = co_await stream->read_some(buffer))
            out.append(buffer.data(), got);
        co_return out;
    }

    // Sends an image and answers with the last word of the other side.
    Task<std::string> import(std::string vdi, std::string format, std::string bytes) {
        agent::VdiImportArgs args{disk_ref(vdi), format};
        const auto stream = adopt_stream(loop, co_await storage->vdi_import(args));
        try {
            co_await stream->write(bytes);
        } catch (const std::exception&) {
            // it stopped listening; its reason follows
        }
        stream->shutdown_write();
        std::string out;
        std::array<char, 4096> buffer{};
        while (const std::size_t got = co_await stream->read_some(buffer))
            out.append(buffer.data(), got);
        co_return out;
    }

    struct Export {
        std::string body;
        std::string version;  // of the contents; empty when the stream does not say
    };

    Task<Export> exported(std::string vdi, std::string format, std::string sr = sr_a) {
        agent::VdiExportArgs args{disk_ref(vdi, sr), format};
        UniqueFd fd = co_await storage->vdi_export(args);
        const std::string all = co_await receive(std::move(fd));
        const auto line = all.find('\n');
        const Json head = Json::parse(all.substr(0, line));
        Export out{all.substr(line + 1), head.value("version", "")};
        EXPECT_EQ(head.at("size"), out.body.size());
        co_return out;
    }

    Task<std::string> export_bytes(std::string vdi, std::string format, std::string sr = sr_a) {
        Export out = co_await exported(std::move(vdi), std::move(format), std::move(sr));
        co_return std::move(out.body);
    }

    Task<std::string> version_of(std::string vdi) {
        Export out = co_await exported(std::move(vdi), "raw");
        co_return std::move(out.version);
    }

    TemporaryFolder folder;
    RealLoop loop;
    std::shared_ptr<Confinement> confinement;
    std::shared_ptr<Storage> storage;
};

using Body = Task<void> (*)(Host&);

Task<void> with_clean_up(Host& host, Body body) {
    std::exception_ptr failure;
    try {
        co_await body(host);
    } catch (...) {
        failure = std::current_exception();
    }
    co_await host.clean_up();
    if (failure) std::rethrow_exception(failure);
}

void on_host(Body body) {
    Host host;
    run(host.loop, with_clean_up(host, body));
}

std::string pattern(std::size_t size) {
    std::string out(size, '\0');
    for (std::size_t i = 0; i < size; i += 4096)  // some blocks stay zero
        if (i % 12288 != 0)
            for (std::size_t k = 0; k < 4096 && i + k < size; ++k)
                out[i + k] = static_cast<char>((i / 4096 * 31 + k * 7) & 0xff);
    return out;
}

std::vector<pid_t> children_called(const std::string& name) {
    std::vector<pid_t> out;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const int pid = std::atoi(entry.path().filename().c_str());
        if (pid <= 0) continue;
        std::ifstream in(entry.path() / "stat");
        const std::string text{std::istreambuf_iterator<char>(in), {}};
        const auto close = text.rfind(')');
        if (close == std::string::npos || text.find("(" + name + ")") == std::string::npos)
            continue;
        if (std::atoi(text.c_str() + close + 4) == getpid()) out.push_back(pid);
    }
    return out;
}

TEST(Storage, drivers_are_known_and_unknown_ones_refused) {
    on_host([](Host& host) -> Task<void> {
        co_await host.boot();
        const auto facts = co_await host.storage->storage_drivers();
        std::vector<std::string> types;
        for (const auto& one : facts)
            types.push_back(one.type);
        EXPECT_EQ(types, (std::vector<std::string>{"ext", "file", "iso", "xfs"}));
        EXPECT_EQ(co_await code_of(host.attach(sr_a, "floppy", "a")), "SR_UNKNOWN_DRIVER");
        EXPECT_EQ(co_await code_of(host.attach(sr_a, "file", "none")), "SR_BACKEND_FAILURE_47");
        EXPECT_EQ(co_await code_of(host.attach(sr_a, "file", "../../etc/..")),
                  "SR_BACKEND_FAILURE_94");
        EXPECT_EQ(co_await code_of(host.attach(sr_a, "ext", "a")), "SR_BACKEND_FAILURE_90");
        EXPECT_EQ(co_await code_of(ignoring(host.storage->sr_scan({sr_a}))), "SR_NOT_ATTACHED");
    });
}

TEST(Storage, an_sr_is_made_found_and_removed) {
    on_host([](Host& host) -> Task<void> {
        co_await host.boot();
        agent::SrCreateArgs args;
        args.uuid = sr_a;
        args.type = "file";
        args.device_config = {{"location", (host.folder.path() / "new").string()}};
        co_await host.storage->sr_create(args);
        co_await host.storage->sr_create(args);
        const auto found = co_await host.storage->sr_probe({"file", args.device_config, {}});
        EXPECT_NE(found.find(sr_a), std::string::npos);
        args.uuid = sr_b;
        EXPECT_EQ(co_await code_of(host.storage->sr_create(args)), "SR_BACKEND_FAILURE_42");
        co_await host.storage->sr_destroy({sr_a});
        EXPECT_FALSE(fs::exists(host.folder.path() / "new"));
        args.device_config = {{"device", "/dev/null"}};
        args.type = "ext";
        EXPECT_EQ(co_await code_of(host.storage->sr_create(args)), "SR_BACKEND_FAILURE_91");
    });
}

TEST(Storage, a_guest_writes_through_a_live_snapshot) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.create(disk_a);
        const DiskServer disk = co_await host.storage->open_disk(vm, plug(disk_a));
        co_await guest_write(host.loop, disk, 1, 11);
        EXPECT_EQ(co_await code_of(host.storage->vdi_destroy({disk_ref(disk_a)})), "VDI_IN_USE");
        // A client that stays connected and writes without pause.
        bool stop = false;
        std::uint64_t written = 0;
        const auto writer = spawn(
            host.loop, "guest", [](Host& h, DiskServer d, bool& s, std::uint64_t& n) -> Task<void> {
                while (!s) {
                    co_await guest_write(h.loop, d, 100 + n % 100, 1 + n % 200);
                    ++n;
                }
            }(host, disk, stop, written));
        while (written < 5)
            co_await sleep_for(host.loop, 1ms);
        const auto snapshot =
            co_await host.storage->vdi_snapshot({disk_ref(disk_a), spec_of(disk_b, 0), vm});
        const std::uint64_t then = written;
        while (written < then + 20)
            co_await sleep_for(host.loop, 1ms);
        stop = true;
        co_await writer->join();
        co_await guest_write(host.loop, disk, 1, 12);
        EXPECT_EQ(snapshot.uuid, disk_b);
        EXPECT_EQ(co_await guest_read(host.loop, disk, 1), 12U);
        const std::string old = co_await host.export_bytes(disk_b, "raw");
        EXPECT_EQ(old.size(), 8U * mib);
        EXPECT_EQ(old[4096], 11);
        EXPECT_EQ(old[std::size_t{4096} * 103], 4);
        co_await host.storage->close_all(vm);
        const std::string fresh = co_await host.export_bytes(disk_a, "raw");
        EXPECT_EQ(fresh[4096], 12);
        const auto last = (written - 1) % 100 + 100;
        EXPECT_EQ(static_cast<unsigned char>(fresh[4096 * last]), 1 + (written - 1) % 200);
    });
}

TEST(Storage, a_second_live_snapshot_and_a_live_resize_follow) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.create(disk_a);
        const DiskServer disk = co_await host.storage->open_disk(vm, plug(disk_a));
        co_await guest_write(host.loop, disk, 1, 11);
        co_await host.storage->vdi_snapshot({disk_ref(disk_a), spec_of(disk_b, 0), vm});
        co_await guest_write(host.loop, disk, 1, 12);
        co_await host.storage->vdi_snapshot({disk_ref(disk_a), spec_of(disk_c, 0), vm});
        co_await guest_write(host.loop, disk, 1, 13);
        const auto grown = co_await host.storage->vdi_resize({disk_ref(disk_a), 16 * mib, vm});
        EXPECT_EQ(grown.size_bytes, 16 * mib);
        EXPECT_EQ(
            co_await code_of(ignoring(host.storage->vdi_resize({disk_ref(disk_a), 4 * mib, vm}))),
            "SR_BACKEND_FAILURE_79");
        co_await guest_write(host.loop, disk, 16 * 256 - 1, 77);
        EXPECT_EQ(co_await guest_read(host.loop, disk, 1), 13U);
        EXPECT_EQ(co_await guest_read(host.loop, disk, 16 * 256 - 1), 77U);
        EXPECT_EQ((co_await host.export_bytes(disk_b, "raw"))[4096], 11);
        EXPECT_EQ((co_await host.export_bytes(disk_c, "raw"))[4096], 12);
    });
}

TEST(Storage, a_new_hostd_finds_the_disks_that_guests_have_open) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.create(disk_a);
        const DiskServer before = co_await host.storage->open_disk(vm, plug(disk_a));
        co_await guest_write(host.loop, before, 1, 11);
        co_await host.boot();
        EXPECT_EQ(host.storage->vms(), std::vector<std::string>{vm});
        EXPECT_EQ(co_await guest_read(host.loop, before, 1), 11U);
        const DiskServer after = co_await host.storage->open_disk(vm, plug(disk_a));
        EXPECT_EQ(after.socket, before.socket);
        EXPECT_EQ(co_await code_of(host.storage->vdi_destroy({disk_ref(disk_a)})), "VDI_IN_USE");
        co_await host.storage->vdi_snapshot({disk_ref(disk_a), spec_of(disk_b, 0), vm});
        co_await guest_write(host.loop, after, 1, 12);
        co_await host.storage->close_disk(vm, "xvda");
        co_await host.storage->close_disk(vm, "xvda");
        EXPECT_TRUE(host.storage->vms().empty());
        EXPECT_FALSE(fs::exists(host.folder.path() / "run" / vm));
        EXPECT_EQ((co_await host.export_bytes(disk_a, "raw"))[4096], 12);
        co_await host.boot();
        EXPECT_TRUE(host.storage->vms().empty());
        co_await host.storage->vdi_destroy({disk_ref(disk_a)});
    });
}

TEST(Storage, a_worker_that_dies_is_replaced) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.create(disk_a);
        const DiskServer disk = co_await host.storage->open_disk(vm, plug(disk_a));
        for (const pid_t pid : children_called("sm-worker"))
            kill(pid, SIGKILL);
        const auto contents = co_await host.storage->sr_scan({sr_a});
        EXPECT_EQ(contents.vdis.size(), 1U);
        co_await guest_write(host.loop, disk, 1, 11);  // never noticed
        EXPECT_EQ(co_await code_of(host.storage->vdi_destroy({disk_ref(disk_a)})), "VDI_IN_USE");
    });
}

TEST(Storage, a_worker_that_is_stuck_costs_its_time_limit_once) {
    on_host([](Host& host) -> Task<void> {
        WorkerLimits limits;
        limits.scan = 1s;
        co_await host.boot(limits);
        co_await host.attach(sr_a, "file", "a");
        co_await host.create(disk_a);
        for (const pid_t pid : children_called("sm-worker"))
            kill(pid, SIGSTOP);
        const Time before = host.loop.now();
        EXPECT_EQ(co_await code_of(ignoring(host.storage->sr_scan({sr_a}))),
                  "SM_PLUGIN_COMMUNICATION_FAILURE");
        EXPECT_LT(host.loop.now() - before, 5s);
        const auto contents = co_await host.storage->sr_scan({sr_a});
        EXPECT_EQ(contents.vdis.size(), 1U);
    });
}

TEST(Storage, a_raw_image_comes_back_as_it_went) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.create(disk_a);
        const std::string image = pattern(8 * mib);
        EXPECT_EQ(co_await host.import(disk_a, "raw", image), "{\"ok\":true}\n");
        EXPECT_TRUE(co_await host.export_bytes(disk_a, "raw") == image);
        // Shorter than the disk is fine, longer is not.
        EXPECT_EQ(co_await host.import(disk_a, "raw", image.substr(0, 1000)), "{\"ok\":true}\n");
        const std::string answer = co_await host.import(disk_a, "raw", image + "x");
        EXPECT_NE(answer.find("VDI_TOO_SMALL"), std::string::npos) << answer;
        co_await host.storage->vdi_destroy({disk_ref(disk_a)});
    });
}

TEST(Storage, the_version_of_contents_changes_with_them_and_only_then) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.create(disk_a);
        const std::string empty = co_await host.version_of(disk_a);
        EXPECT_EQ(empty.size(), 32U);
        EXPECT_EQ((co_await host.exported(disk_a, "qcow2")).version, "");
        EXPECT_EQ(co_await host.version_of(disk_a), empty);
        co_await host.boot();
        co_await host.attach(sr_a, "file", "a");
        EXPECT_EQ(co_await host.version_of(disk_a), empty) << "another hostd, the same disk";

        co_await host.import(disk_a, "raw", pattern(1 * mib));
        const std::string filled = co_await host.version_of(disk_a);
        EXPECT_NE(filled, empty);
        co_await host.storage->vdi_snapshot({disk_ref(disk_a), spec_of(disk_b, 0), ""});
        const std::string kept = co_await host.version_of(disk_b);
        const std::string before = co_await host.version_of(disk_a);
        const DiskServer disk = co_await host.storage->open_disk(vm, plug(disk_a));
        co_await guest_write(host.loop, disk, 1, 11);
        EXPECT_EQ(co_await host.version_of(disk_b), kept) << "the guest wrote to another one";
        co_await host.storage->close_all(vm);
        EXPECT_NE(co_await host.version_of(disk_a), before);
        EXPECT_EQ(co_await host.version_of(disk_b), kept);
    });
}

TEST(Storage, other_formats_carry_the_same_bytes) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        const std::string image = pattern(8 * mib);
        co_await host.create(disk_a);
        co_await host.import(disk_a, "raw", image);
        for (const char* format : {"qcow2", "vhd"}) {
            co_await host.create(disk_b);
            const std::string bytes = co_await host.export_bytes(disk_a, format);
            EXPECT_EQ(co_await host.import(disk_b, format, bytes), "{\"ok\":true}\n") << format;
            EXPECT_TRUE(co_await host.export_bytes(disk_b, "raw") == image) << format;
            co_await host.storage->vdi_destroy({disk_ref(disk_b)});
        }
        co_await host.create(disk_b, mib);
        const std::string qcow2 = co_await host.export_bytes(disk_a, "qcow2");
        const std::string answer = co_await host.import(disk_b, "qcow2", qcow2);
        EXPECT_NE(answer.find("VDI_TOO_SMALL"), std::string::npos) << answer;
        const std::string garbage = co_await host.import(disk_b, "qcow2", "no image at all");
        EXPECT_NE(garbage.find("VDI_IO_ERROR"), std::string::npos) << garbage;
        // What a transfer had in its hands is put away on another thread, perhaps after the answer.
        const fs::path work = host.folder.path() / "work";
        for (int i = 0; i < 500 && !fs::is_empty(work); ++i)
            co_await sleep_for(host.loop, 10ms);
        EXPECT_TRUE(fs::is_empty(work));
    });
}

std::vector<std::string> evil_args(const std::string& option, const std::string& value,
                                   const std::string& image) {
    return {"qemu-img", "create", "-q", "-u", "-f", "qcow2", option, value, image, "1M"};
}

std::string file_bytes(const std::string& path) {
    std::ifstream in(path);
    return std::string{std::istreambuf_iterator<char>(in), {}};
}

TEST(Storage, an_image_that_names_a_file_of_ours_does_not_bring_it) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.create(disk_a);
        const std::string image = pattern(8 * mib);
        co_await host.import(disk_a, "raw", image);
        const std::string evil = (host.folder.path() / "evil.qcow2").string();
        Command make;
        make.argv = evil_args("-obacking_fmt=raw", "-b/etc/passwd", evil);
        co_await run_command(host.loop, make, 20s);
        // An image over another: it holds nothing, so the disk stays as it is.
        EXPECT_EQ(co_await host.import(disk_a, "qcow2", file_bytes(evil)), "{\"ok\":true}\n");
        EXPECT_TRUE(co_await host.export_bytes(disk_a, "raw") == image);
        const std::string data = (host.folder.path() / "evil.data").string();
        make.argv = evil_args("-o", "data_file=" + data, evil);
        co_await run_command(host.loop, make, 20s);
        const std::string answer = co_await host.import(disk_a, "qcow2", file_bytes(evil));
        EXPECT_NE(answer.find("refers to another file"), std::string::npos) << answer;
    });
}

TEST(Storage, a_copy_goes_to_another_sr_or_leaves_nothing) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.attach(sr_b, "file", "b");
        co_await host.create(disk_a);
        const std::string image = pattern(8 * mib);
        co_await host.import(disk_a, "raw", image);
        double seen = 0;
        agent::VdiCopyArgs args;
        args.disk = disk_ref(disk_a);
        args.sr = sr_b;
        args.spec = spec_of(disk_b, 0);
        const auto copy =
            co_await host.storage->vdi_copy(args, [&seen](double value) { seen = value; });
        EXPECT_EQ(copy.size_bytes, 8 * mib);
        EXPECT_EQ(seen, 1.0);
        EXPECT_TRUE(co_await host.export_bytes(disk_b, "raw", sr_b) == image);

        args.spec = spec_of(disk_c, 0);
        const auto job = spawn(host.loop, "copy", ignoring(host.storage->vdi_copy(args, {})));
        host.loop.at(host.loop.now() + 30ms, [job] { job->cancel(); });
        co_await job->wait();
        if (job->failure()) {
            const auto contents = co_await host.storage->sr_scan({sr_b});
            EXPECT_EQ(contents.vdis.size(), 1U);
        }
        co_await host.storage->vdi_destroy({disk_ref(disk_a)});
    });
}

TEST(Storage, a_disk_is_written_over_whole_or_where_it_differs_from_a_base) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.create(disk_a);
        const std::string before = pattern(8 * mib);
        co_await host.import(disk_a, "raw", before);
        agent::VdiSnapshotArgs snapshot;
        snapshot.disk = disk_ref(disk_a);
        snapshot.spec = spec_of(disk_b, 0);
        co_await host.storage->vdi_snapshot(snapshot);
        std::string after = before;
        after.replace(1 * mib, 4096, std::string(4096, 'x'));
        after.replace(3 * mib, mib, std::string(mib, '\0'));
        co_await host.import(disk_a, "raw", after);

        co_await host.create(disk_c);
        co_await host.import(disk_c, "raw", std::string(8 * mib, 'y'));
        agent::VdiCopyArgs args;
        args.disk = disk_ref(disk_b);
        args.sr = args.disk.sr;
        args.into = disk_ref(disk_c);
        co_await host.storage->vdi_copy(args, {});
        EXPECT_TRUE(co_await host.export_bytes(disk_c, "raw") == before);

        double seen = 0;
        args.disk = disk_ref(disk_a);
        args.base = disk_ref(disk_b);
        co_await host.storage->vdi_copy(args, [&seen](double value) { seen = value; });
        EXPECT_TRUE(co_await host.export_bytes(disk_c, "raw") == after);
        EXPECT_EQ(seen, 1.0);

        // A disk cannot be its own target, nor a smaller one the target of a larger.
        args.into = args.disk;
        EXPECT_EQ(co_await code_of(ignoring(host.storage->vdi_copy(args, {}))), "VDI_IN_USE");
        EXPECT_TRUE(co_await host.export_bytes(disk_a, "raw") == after);
    });
}

TEST(Storage, an_nbd_socket_holds_the_disk_until_it_is_closed) {
    on_host([](Host& host) -> Task<void> {
        co_await host.ready();
        co_await host.create(disk_a);
        UniqueFd fd = co_await host.storage->vdi_open({disk_ref(disk_a), agent::Access::rw});
        EXPECT_EQ(co_await code_of(ignoring(host.storage->open_disk(vm, plug(disk_a)))),
                  "VDI_IN_USE");
        fd.reset();
        co_await host.storage->open_disk(vm, plug(disk_a));
        EXPECT_EQ(co_await code_of(
                      ignoring(host.storage->vdi_open({disk_ref(disk_a), agent::Access::ro}))),
                  "VDI_IN_USE");
    });
}

TEST(Storage, cds_are_files_with_names_that_last) {
    on_host([](Host& host) -> Task<void> {
        std::ofstream(host.folder.path() / "iso" / "debian.iso") << std::string(2 * mib, 'd');
        std::ofstream(host.folder.path() / "iso" / "notes.txt") << "no CD";
        fs::create_symlink("/etc", host.folder.path() / "iso" / "folder.iso");
        co_await host.boot();
        co_await host.attach(sr_iso, "iso", "iso");
        const auto first = co_await host.storage->sr_scan({sr_iso});
        EXPECT_EQ(first.vdis.size(), 1U);
        if (first.vdis.empty()) co_return;
        const agent::VdiInfo cd = first.vdis[0];
        EXPECT_EQ(cd.location, "debian.iso");
        EXPECT_TRUE(cd.read_only);
        EXPECT_EQ(cd.size_bytes, 2 * mib);
        std::ofstream(host.folder.path() / "iso" / "other.iso") << std::string(mib, 'o');
        const auto second = co_await host.storage->sr_scan({sr_iso});
        EXPECT_EQ(second.vdis.size(), 2U);
        EXPECT_EQ(second.vdis[0].uuid, cd.uuid);
        agent::DiskSpec spec = plug(disk_a, agent::Access::ro);
        spec.disk = {sr_iso, cd.uuid, cd.location};
        const DiskServer one = co_await host.storage->open_disk(vm, spec);
        EXPECT_EQ(co_await guest_read(host.loop, one, 3), static_cast<unsigned>('d'));
        spec.device = "xvdd";
        const DiskServer two = co_await host.storage->open_disk(vm, spec);
        EXPECT_EQ(co_await guest_read(host.loop, two, 3), static_cast<unsigned>('d'));
        spec.disk = {sr_iso, "", "../a/x.iso"};
        EXPECT_EQ(co_await code_of(ignoring(host.storage->open_disk(vm, spec))),
                  "SR_BACKEND_FAILURE_46");
        // An upload.
        agent::VdiCreateArgs upload;
        upload.sr = sr_iso;
        upload.spec = spec_of(disk_a, mib);
        upload.spec.name = "../escape.iso";
        EXPECT_EQ(co_await code_of(ignoring(host.storage->vdi_create(upload))),
                  "SR_BACKEND_FAILURE_221");
        upload.spec.name = "uploaded.iso";
        const auto made = co_await host.storage->vdi_create(upload);
        EXPECT_EQ(made.size_bytes, mib);
    });
}

}  // namespace
}  // namespace basalt::sm::test
