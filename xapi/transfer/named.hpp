#pragma once
#include <initializer_list>
#include <string>

#include "idl/errors.hpp"
#include "xapi/core/call.hpp"
#include "xapi/rpc/http_auth.hpp"

namespace basalt::transfer {

/// The object that one of the parameters `names` names, by reference or by uuid; the first one that
/// is there counts. Throws HANDLE_INVALID, UUID_INVALID [cls, text].
template <class R>
xenapi::Ref<R> named(Call& call, const server::HttpRequest& request, const char* cls,
                     std::initializer_list<const char*> names) {
    for (const char* name : names) {
        const std::string* text = server::parameter(request, name);
        if (text == nullptr) continue;
        if (const auto ref = xenapi::parse_ref(*text); ref && !ref->none()) {
            if (call.db().find(xenapi::Ref<R>(*ref)) == nullptr)
                throw err::handle_invalid(cls, *text);
            return xenapi::Ref<R>(*ref);
        }
        if (const auto found = call.db().by_uuid<R>(*text)) return *found;
        throw err::uuid_invalid(cls, *text);
    }
    throw err::handle_invalid(cls, "");
}

}  // namespace basalt::transfer
