// Class pool: a copy of the database in a repository, and what is no more.
#include "idl/errors.hpp"
#include "idl/records/pool.hpp"
#include "xapi/domain/database_copies.hpp"
#include "xapi/domain/pool.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

Task<void> PoolDomain::enable_redo_log(Call& call, PoolEnableRedoLog params) {
    return copies_.enable_redo_log(call, params.sr);
}

Task<void> PoolDomain::disable_redo_log(Call& call) {
    return copies_.disable_redo_log(call);
}

Task<std::string> PoolDomain::test_archive_target(Call&, PoolTestArchiveTarget) {
    throw err::message_removed();
    co_return std::string();
}

}  // namespace basalt::domain
