#pragma once
#include <memory>
#include <string>
#include <utility>

#include "idl/runtime/type_ops.hpp"

namespace basalt::xenapi {

/// The answer of a message, type erased, immutable and shared. Default: void.
class Reply {
  public:
    Reply() = default;

    template <class T>
    static Reply of(T value) {
        return Reply{&type_ops<T>(), std::make_shared<const T>(std::move(value))};
    }

    Reply(const TypeOps* type, std::shared_ptr<const void> value)
        : type_(type), value_(std::move(value)) {}

    [[nodiscard]] bool is_void() const { return type_ == nullptr; }

    [[nodiscard]] const TypeOps* type() const { return type_; }

    [[nodiscard]] const void* value() const { return value_.get(); }

    void write_json(wire::JsonWriter& writer) const {
        is_void() ? writer.void_value() : type_->write_json(value_.get(), writer);
    }

    void write_xml(wire::XmlWriter& writer) const {
        is_void() ? writer.void_value() : type_->write_xml(value_.get(), writer);
    }

  private:
    const TypeOps* type_ = nullptr;
    std::shared_ptr<const void> value_;
};

}  // namespace basalt::xenapi
