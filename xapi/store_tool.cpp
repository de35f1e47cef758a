#include "xapi/store_tool.hpp"

#include <cstdio>
#include <memory>

#include "xapi/config.hpp"
#include "xapi/db/store/dump.hpp"

namespace basalt {

namespace {

struct Words {
    std::string file;
    bool dry_run = false;
    std::function<int(const Config&)> run;
};

void print(const db::StoreReport& report) {
    std::printf("version %llu epoch %llu deletions %zu\n",
                static_cast<unsigned long long>(report.version),
                static_cast<unsigned long long>(report.epoch), report.tombstones);
    for (const auto& [cls, count] : report.rows)
        std::printf("%8zu %s\n", count, cls.c_str());
}

int check(const Config& config) {
    print(db::check_store(config.store_path));
    return EXIT_SUCCESS;
}

int backup(const Config& config, const Words& words) {
    db::backup_store(config.store_path, words.file);
    return EXIT_SUCCESS;
}

int migrate(const Config& config) {
    const std::string kept = db::migrate_store(config.store_path);
    if (kept.empty())
        std::puts("up to date");
    else
        std::printf("migrated; the old one is %s\n", kept.c_str());
    return EXIT_SUCCESS;
}

int dump(const Config& config, const Words& words) {
    db::write_dump(config.store_path, words.file);
    return EXIT_SUCCESS;
}

int restore(const Config& config, const Words& words) {
    db::StoreContents contents = db::read_dump(words.file);
    print(db::check_contents(contents, config.host_uuid));
    if (words.dry_run) return EXIT_SUCCESS;
    db::stage_restore(contents, config.store_path);
    std::puts("takes the store's place at the next start");
    return EXIT_SUCCESS;
}

}  // namespace

std::function<int()> add_store_commands(CLI::App& app, const std::string& config) {
    const auto words = std::make_shared<Words>();
    CLI::App* store = app.add_subcommand("store", "look after the store, with or without a server");
    store->require_subcommand(1);
    store->add_subcommand("check", "read all of it, and say what is there")->callback([words] {
        words->run = check;
    });
    CLI::App* copy = store->add_subcommand("backup", "copy it as it is now");
    copy->callback(
        [words] { words->run = [words](const Config& c) { return backup(c, *words); }; });
    store->add_subcommand("migrate", "bring its layout up to date; without a server")
        ->callback([words] { words->run = migrate; });
    CLI::App* out = store->add_subcommand("dump", "write it as XML, as xe pool-dump-database does");
    out->callback([words] { words->run = [words](const Config& c) { return dump(c, *words); }; });
    CLI::App* in = store->add_subcommand("restore", "let a dump take its place at the next start");
    in->add_flag("--dry-run", words->dry_run, "only look whether it could");
    in->callback([words] { words->run = [words](const Config& c) { return restore(c, *words); }; });
    for (CLI::App* with_file : {copy, out, in})
        with_file->add_option("file", words->file, "the file")->required();
    return [words, &config]() -> int { return words->run(read_config(config)); };
}

}  // namespace basalt
