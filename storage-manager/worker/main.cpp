// One storage repository's driver, in a process of its own. hostd starts it with descriptor 3 as
// its end of a socket pair, and it ends when that does.
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "storage-manager/drivers/device/device_kinds.hpp"
#include "storage-manager/drivers/file/file_driver.hpp"
#include "storage-manager/drivers/iso/iso_driver.hpp"
#include "storage-manager/worker/kinds.hpp"
#include "storage-manager/worker/worker_server.hpp"

namespace {

basalt::Task<void> serve(basalt::RealLoop& loop, basalt::rpc::Peer& peer) {
    co_await peer.run();
    loop.stop();
}

}  // namespace

int main() {
    using namespace basalt;
    RealLoop loop;
    sm::Kinds kinds;
    kinds.add(sm::ext_kind(loop));
    kinds.add(sm::file_kind(loop));
    kinds.add(sm::iso_kind(loop));
    kinds.add(sm::xfs_kind(loop));
    sm::WorkerServer server(kinds);
    rpc::Peer peer(loop, rpc::socket_channel(loop, adopt_stream(loop, UniqueFd(3))), &server);
    spawn(loop, "serve", serve(loop, peer));
    loop.run();
    return 0;
}
