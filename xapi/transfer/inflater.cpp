#include "xapi/transfer/inflater.hpp"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>

#include "idl/errors.hpp"

namespace basalt::transfer {

namespace {

constexpr std::string_view zstd_magic = "\x28\xb5\x2f\xfd";

[[noreturn]] void refuse(const std::string& why) {
    throw err::import_error("the stream cannot be decompressed: " + why);
}

class GzipInflater final : public Inflater {
  public:
    GzipInflater() {
        constexpr int gzip_window = 16 + MAX_WBITS;
        if (inflateInit2(&stream_, gzip_window) != Z_OK) refuse("no memory");
    }

    GzipInflater(const GzipInflater&) = delete;
    GzipInflater& operator=(const GzipInflater&) = delete;

    ~GzipInflater() override { inflateEnd(&stream_); }

    Step step(std::string_view in) override {
        Step step;
        step.out.resize(inflated_bytes_max);
        // zlib's interface is not const; it only reads.
        stream_.next_in =
            reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));  // NOLINT(*-const-cast)
        stream_.avail_in = static_cast<uInt>(in.size());
        stream_.next_out = reinterpret_cast<Bytef*>(step.out.data());
        stream_.avail_out = static_cast<uInt>(step.out.size());
        const int status = inflate(&stream_, Z_NO_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            refuse(stream_.msg == nullptr ? "it is no gzip stream" : stream_.msg);
        step.out.resize(inflated_bytes_max -
                        std::min<std::size_t>(inflated_bytes_max, stream_.avail_out));
        step.taken = in.size() - stream_.avail_in;
        step.ended = status == Z_STREAM_END;
        // Several in a row are one stream.
        if (step.ended) inflateReset(&stream_);
        return step;
    }

  private:
    z_stream stream_{};
};

class ZstdInflater final : public Inflater {
  public:
    Step step(std::string_view in) override {
        Step step;
        step.out.resize(inflated_bytes_max);
        ZSTD_inBuffer from{in.data(), in.size(), 0};
        ZSTD_outBuffer to{step.out.data(), step.out.size(), 0};
        const std::size_t left = ZSTD_decompressStream(stream_.get(), &to, &from);
        if (ZSTD_isError(left) != 0) refuse(ZSTD_getErrorName(left));
        step.out.resize(to.pos);
        step.taken = from.pos;
        step.ended = left == 0;
        return step;
    }

  private:
    struct Free {
        void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
    };

    std::unique_ptr<ZSTD_DStream, Free> stream_{ZSTD_createDStream()};
};

}  // namespace

std::unique_ptr<Inflater> inflater_for(std::string_view first_bytes) {
    if (first_bytes.starts_with(zstd_magic)) return std::make_unique<ZstdInflater>();
    return std::make_unique<GzipInflater>();
}

}  // namespace basalt::transfer
