#pragma once
#include <utility>

#include "idl/runtime/finish.hpp"

namespace basalt::xenapi {

template <class T>
basalt::Task<Reply> finish(basalt::Task<T> answer) {
    T value = co_await std::move(answer);
    co_return Reply::of(std::move(value));
}

}  // namespace basalt::xenapi
