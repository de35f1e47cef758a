#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "storage-manager/api/driver.hpp"

/// Storage in memory: what several simulated hosts see of it is one object, as a shared SR would
/// be.
namespace basalt::sm::sim {

constexpr std::int64_t block_bytes = 4096;

/// An image keeps a number for each block that was written; a block it lacks is its backing's, or
/// 0.
struct SimImage {
    std::string backing;  // path of an image, or empty
    std::int64_t size_bytes = 0;
    std::map<std::uint64_t, std::uint64_t> blocks;
};

struct SimDisk {
    std::string image;
    agent::VdiSpec spec;
};

struct Repository {
    std::string type;
    std::string sr;  // uuid, as whoever made it said
    std::int64_t size_bytes = std::int64_t{1} << 40;
    std::int64_t image_bytes = 0;          // what each image takes of it, beside its blocks
    std::map<std::string, SimDisk> disks;  // by uuid
};

struct World {
    std::map<std::string, Repository> repositories;  // by type and device_config
    std::map<std::string, SimImage> images;          // by path

    [[nodiscard]] std::uint64_t read(const std::string& image, std::uint64_t block) const;
};

using SharedWorld = std::shared_ptr<World>;

}  // namespace basalt::sm::sim
