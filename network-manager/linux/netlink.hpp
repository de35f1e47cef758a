#pragma once
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"

namespace basalt::nm::netlink {

/// One rtnetlink request: a header, the family's struct, then attributes.
class Message {
  public:
    template <class Body>
    Message(std::uint16_t type, std::uint16_t flags, const Body& body) {
        nlmsghdr header{};
        header.nlmsg_type = type;
        header.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
        append(&header, sizeof header);
        append(&body, sizeof body);
    }

    Message& put(std::uint16_t type, std::string_view bytes);

    template <class T>
    Message& put_value(std::uint16_t type, const T& value) {
        return put(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
    }

    /// The bytes, with the length and sequence filled in.
    std::vector<char>& finish(std::uint32_t sequence);

  private:
    void append(const void* bytes, std::size_t size);

    std::vector<char> bytes_;
};

/// The attributes after a reply's struct.
class Attributes {
  public:
    explicit Attributes(std::string_view bytes);
    [[nodiscard]] std::string_view get(std::uint16_t type) const;
    [[nodiscard]] std::string text(std::uint16_t type) const;

    template <class T>
    [[nodiscard]] T value(std::uint16_t type, T otherwise) const {
        const std::string_view bytes = get(type);
        if (bytes.size() < sizeof(T)) return otherwise;
        T out{};
        std::memcpy(&out, bytes.data(), sizeof out);
        return out;
    }

  private:
    std::vector<std::pair<std::uint16_t, std::string_view>> found_;
};

/// Blocking requests to the kernel, one at a time.
class Socket {
  public:
    Socket();
    /// Asks for a change; returns 0 or the errno the kernel answered.
    int change(Message message);
    /// Asks for a list; `each(type, body)` is called for every entry.
    void dump(Message message,
              const std::function<void(std::uint16_t, std::string_view body)>& each);

  private:
    UniqueFd fd_;
    std::uint32_t sequence_ = 0;
};

}  // namespace basalt::nm::netlink
