#include "xapi/domain/blobs.hpp"

#include <algorithm>
#include <filesystem>

#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/blob.hpp"
#include "idl/records/host.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/blob_files.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr const char* any_bytes = "application/octet-stream";
constexpr std::size_t mime_type_bytes_max = 127;

// RFC 6838 4.2: the characters of a type's names; parameters are not taken.
bool is_mime_type(const std::string& text) {
    const auto is_plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("!#$&-^_.+").contains(c);
    };
    const std::size_t slash = text.find('/');
    return slash != std::string::npos && slash > 0 && slash + 1 < text.size() &&
           text.size() <= mime_type_bytes_max &&
           std::ranges::all_of(text.substr(0, slash), is_plain) &&
           std::ranges::all_of(text.substr(slash + 1), is_plain);
}

template <class R>
void forget_in(db::Txn& txn, Ref<Blob> blob) {
    txn.each<R>([&](Ref<R> object, const R& row) {
        for (const auto& [name, other] : row.blobs) {
            if (other != blob) continue;
            txn.edit(object).blobs.erase(std::string(name));
            return;
        }
    });
}

}  // namespace

Ref<Blob> insert_blob(db::Txn& txn, NewBlob what) {
    if (what.mime_type.empty()) what.mime_type = any_bytes;
    if (!is_mime_type(what.mime_type)) throw err::invalid_value("mime_type", what.mime_type);
    Blob row;
    row.name_label = std::move(what.name);
    row.mime_type = std::move(what.mime_type);
    row.public_ = what.is_public;
    return txn.insert(std::move(row));
}

Task<Ref<Blob>> BlobDomain::create(Call& call, BlobCreate params) {
    co_return call.db().transact([&](db::Txn& txn) {
        return insert_blob(txn, {{}, std::move(params.mime_type), params.public_});
    });
}

Task<void> BlobDomain::destroy(Call& call, BlobDestroy params) {
    const std::string uuid = call.db().get(params.self).uuid;
    call.db().transact([&](db::Txn& txn) {
        forget_in<Host>(txn, params.self);
        forget_in<Pool>(txn, params.self);
        forget_in<Network>(txn, params.self);
        forget_in<Sr>(txn, params.self);
        forget_in<Vm>(txn, params.self);
        txn.erase(params.self);
    });
    // The row first: bytes without a row are swept at the next start, a row without bytes would
    // lie.
    co_await call.committed();
    co_await blocking(core_.loop, [path = core::blob_file(core_, uuid)] {
        std::error_code absent;
        std::filesystem::remove(path, absent);
    });
}

}  // namespace basalt::domain
