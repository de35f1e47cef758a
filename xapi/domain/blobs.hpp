#pragma once
#include "idl/api/blob_api.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Class blob: the rows. Their bytes are files, which come and go over HTTP
/// (xapi/transfer/blobs.cpp).
class BlobDomain final : public xenapi::BlobApi {
  public:
    explicit BlobDomain(core::Core& core) : core_(core) {}

    Task<xenapi::Ref<xenapi::Blob>> create(Call& call, xenapi::BlobCreate params) override;
    Task<void> destroy(Call& call, xenapi::BlobDestroy params) override;

  private:
    core::Core& core_;
};

/// What the five create_new_blob messages share.
struct NewBlob {
    std::string name;
    std::string mime_type;
    bool is_public = false;
};

/// A blob that is entered under `name` in `blobs` of the object; an older one of that name leaves
/// the object and its bytes go. INVALID_VALUE for a type of media that a header could not carry.
xenapi::Ref<xenapi::Blob> insert_blob(db::Txn& txn, NewBlob what);

/// The same for an object whose row has `blobs`.
template <class R>
xenapi::Ref<xenapi::Blob> attach_blob(db::Txn& txn, xenapi::Ref<R> object, NewBlob what) {
    std::string name = what.name;
    (void)txn.get(object);
    const auto blob = insert_blob(txn, std::move(what));
    txn.edit(object).blobs.insert_or_assign(std::move(name), blob);
    return blob;
}

}  // namespace basalt::domain
