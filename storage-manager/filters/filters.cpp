#include "storage-manager/filters/filters.hpp"

#include "base/log.hpp"

namespace basalt::sm {

namespace {

class Filtered final : public Driver, public Snapshots, public Resizer {
  public:
    Filtered(std::unique_ptr<Driver> driver, BeforeVerb before)
        : driver_(std::move(driver)), before_(std::move(before)) {}

    Task<agent::SrInfo> attach() override {
        co_await before_("attach", "");
        co_return co_await driver_->attach();
    }

    Task<void> detach() override {
        co_await before_("detach", "");
        co_await driver_->detach();
    }

    Task<agent::SrContents> scan() override {
        co_await before_("scan", "");
        co_return co_await driver_->scan();
    }

    Task<agent::VdiInfo> stat(Location vdi) override {
        co_await before_("stat", vdi);
        co_return co_await driver_->stat(vdi);
    }

    Task<agent::VdiInfo> create(agent::VdiSpec spec) override {
        co_await before_("create", spec.uuid);
        co_return co_await driver_->create(spec);
    }

    Task<void> destroy(Location vdi) override {
        co_await before_("destroy", vdi);
        co_await driver_->destroy(vdi);
    }

    Task<Attachment> open(Location vdi, agent::Access access) override {
        co_await before_("open", vdi);
        co_return co_await driver_->open(vdi, access);
    }

    Task<void> close(Location vdi) override {
        co_await before_("close", vdi);
        co_await driver_->close(vdi);
    }

    Snapshots* snapshots() override { return driver_->snapshots() != nullptr ? this : nullptr; }

    Resizer* resizer() override { return driver_->resizer() != nullptr ? this : nullptr; }

    Task<Prepared> snapshot_prepare(Location vdi, agent::VdiSpec spec) override {
        co_await before_("snapshot_prepare", vdi);
        co_return co_await driver_->snapshots()->snapshot_prepare(vdi, spec);
    }

    Task<agent::VdiInfo> snapshot_commit(std::string token) override {
        co_await before_("snapshot_commit", "");
        co_return co_await driver_->snapshots()->snapshot_commit(token);
    }

    Task<void> snapshot_abort(std::string token) override {
        co_await before_("snapshot_abort", "");
        co_await driver_->snapshots()->snapshot_abort(token);
    }

    Task<agent::VdiInfo> clone(Location vdi, agent::VdiSpec spec) override {
        co_await before_("clone", vdi);
        co_return co_await driver_->snapshots()->clone(vdi, spec);
    }

    Task<agent::VdiInfo> revert(Location vdi, Location snapshot) override {
        co_await before_("revert", vdi);
        co_return co_await driver_->snapshots()->revert(vdi, snapshot);
    }

    Task<agent::VdiInfo> resize(Location vdi, std::int64_t size_bytes) override {
        co_await before_("resize", vdi);
        co_return co_await driver_->resizer()->resize(vdi, size_bytes);
    }

  private:
    std::unique_ptr<Driver> driver_;
    BeforeVerb before_;
};

Task<void> log_verb(std::string name, std::string verb, std::string about) {
    log::info("storage_verb", {{"sr", name}, {"verb", verb}, {"about", about}});
    co_return;
}

Task<void> fail_if_asked(std::shared_ptr<Faults> faults, std::string verb) {
    ++faults->calls[verb];
    const auto found = faults->failing.find(verb);
    if (found != faults->failing.end()) throw found->second;
    co_return;
}

}  // namespace

std::unique_ptr<Driver> filtered(std::unique_ptr<Driver> driver, BeforeVerb before) {
    return std::make_unique<Filtered>(std::move(driver), std::move(before));
}

std::unique_ptr<Driver> trace(std::unique_ptr<Driver> driver, std::string name) {
    return filtered(std::move(driver),
                    [name = std::move(name)](std::string verb, std::string about) {
                        return log_verb(name, std::move(verb), std::move(about));
                    });
}

std::unique_ptr<Driver> delay(Loop& loop, std::unique_ptr<Driver> driver, Duration time) {
    return filtered(std::move(driver), [&loop, time](const std::string&, const std::string&) {
        return sleep_for(loop, time);
    });
}

std::unique_ptr<Driver> fault(std::unique_ptr<Driver> driver, std::shared_ptr<Faults> faults) {
    return filtered(std::move(driver),
                    [faults = std::move(faults)](std::string verb, const std::string&) {
                        return fail_if_asked(faults, std::move(verb));
                    });
}

}  // namespace basalt::sm
