#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "xapi/core/core.hpp"
#include "xapi/domain/vm_archive.hpp"

/// ova.xml, the first file of an archive of VMs: an XML-RPC value that says who wrote it and what
/// the records are.
namespace basalt::transfer {

inline constexpr std::string_view ova_file = "ova.xml";

/// What the archive's writer does about checksums, by its number.
enum class ExportVersion : std::uint8_t { table_at_end = 0, table_and_beside = 1, beside = 2 };

struct OvaDocument {
    ExportVersion version = ExportVersion::table_at_end;
    std::vector<domain::ArchivedObject> objects;
};

/// Who writes it. Loop only.
[[nodiscard]] wire::Value writer_of(const core::Core& core);
/// Both work on much text: on a pool thread.
[[nodiscard]] std::string ova_text(const wire::Value& written_by,
                                   std::vector<domain::ArchivedObject> objects);
/// Throws IMPORT_ERROR, and IMPORT_INCOMPATIBLE_VERSION for what a newer server wrote.
[[nodiscard]] OvaDocument parse_ova(const core::Product& product, std::string_view text);

}  // namespace basalt::transfer
