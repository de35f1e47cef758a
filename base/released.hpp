#pragma once

namespace basalt {

/// A deleter for the handles of C libraries: `std::unique_ptr<X509, Released<X509_free>>`.
template <auto release>
struct Released {
    template <class T>
    void operator()(T* object) const {
        release(object);
    }
};

}  // namespace basalt
