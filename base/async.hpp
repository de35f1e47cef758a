#pragma once
// The only way in to Asio: its whole header costs 2.5 s a unit, these cost 1.2.
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/this_coro.hpp>

#include <chrono>
#include <cstdint>

namespace basalt {

namespace asio = boost::asio;

/// A coroutine of the loop. Lazy: runs when awaited or handed to `spawn`.
template <class T = void>
using Task = asio::awaitable<T>;

using Duration = std::chrono::nanoseconds;
/// Monotonic time of a Loop; its zero means nothing.
using Time = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using Millis = std::chrono::milliseconds;
using Seconds = std::chrono::seconds;
using namespace std::chrono_literals;

}  // namespace basalt
