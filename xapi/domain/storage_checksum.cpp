// What a disk holds, in one number: it is read whole, by the loop, and summed up beside it.
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <format>
#include <memory>

#include "base/nbd.hpp"
#include "base/released.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/domain/storage.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

using Digest = std::unique_ptr<EVP_MD_CTX, Released<EVP_MD_CTX_free>>;

std::string finished(EVP_MD_CTX* digest) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
    unsigned length = 0;
    EVP_DigestFinal_ex(digest, bytes.data(), &length);
    std::string out;
    for (unsigned i = 0; i < length; ++i)
        out += std::format("{:02x}", bytes.at(i));
    return out;
}

}  // namespace

Task<std::unique_ptr<Stream>> Storage::open_disk(Ref<Vdi> disk, agent::Access access) {
    if (!adopt_) throw err::internal_error("disks cannot be read by this process");
    const Ref<Sr> sr = core_.db.get(disk).SR;
    co_return adopt_(co_await home_agent(sr).vdi_open({disk_ref(disk), access}));
}

Task<std::string> Storage::checksum(Call& call, Ref<Vdi> disk) {
    if (!adopt_) throw err::internal_error("disks cannot be read by this process");
    core::Operation operation(call);
    call.db().transact([&](db::Txn& txn) {
        require(txn, disk, VdiOperations::copy);
        operation.mark(txn, disk, VdiOperations::copy);
    });
    auto stream = co_await open_disk(disk, agent::Access::ro);
    const auto server = co_await nbd::Client::open(std::move(stream), "disk");
    const Digest digest(EVP_MD_CTX_new());
    EVP_DigestInit_ex(digest.get(), EVP_md5(), nullptr);
    const std::uint64_t size = server->size_bytes();
    std::string piece;
    for (std::uint64_t done = 0; done < size;) {
        piece.resize(
            static_cast<std::size_t>(std::min<std::uint64_t>(size - done, nbd::request_bytes_max)));
        co_await server->read(done, piece);
        co_await blocking(core_.loop, [&digest, &piece] {
            EVP_DigestUpdate(digest.get(), piece.data(), piece.size());
        });
        done += piece.size();
        call.progress(static_cast<double>(done) / static_cast<double>(size));
    }
    co_await server->disconnect();
    call.db().transact([&](db::Txn& txn) { operation.unmark(txn); });
    co_return finished(digest.get());
}

}  // namespace basalt::domain
