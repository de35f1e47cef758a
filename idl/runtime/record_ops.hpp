#pragma once
#include <new>

#include "idl/runtime/model.hpp"

namespace basalt::xenapi {

template <class C>
constexpr RecordOps record_ops() {
    return {
        .size = sizeof(C),
        .construct = [](void* place) { ::new (place) C(); },
        .copy_construct =
            [](void* place, const void* record) {
                ::new (place) C(*static_cast<const C*>(record));
            },
        .destroy = [](void* record) { static_cast<C*>(record)->~C(); },
        .equal =
            [](const void* a, const void* b) {
                return *static_cast<const C*>(a) == *static_cast<const C*>(b);
            },
    };
}

}  // namespace basalt::xenapi
