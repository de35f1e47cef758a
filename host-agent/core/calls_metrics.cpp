// The verbs that are about figures over time.
#include "host-agent/core/calls.hpp"

namespace basalt::agent {

Task<UniqueFd> Calls::metrics_updates(MetricsUpdatesArgs args) {
    return metering_->updates(std::move(args));
}

Task<UniqueFd> Calls::metrics_whole(MetricsWholeArgs args) {
    return metering_->whole(std::move(args));
}

Task<std::vector<MetricsSource>> Calls::metrics_sources(MetricsSourcesArgs args) {
    return metering_->sources(std::move(args));
}

Task<std::map<std::string, double>> Calls::metrics_means(MetricsMeansArgs args) {
    return metering_->means(std::move(args));
}

Task<void> Calls::metrics_tell(MetricsTellArgs args) {
    metering_->note_told(std::move(args.values));
    co_return;
}

Task<void> Calls::metrics_record(MetricsRecordArgs args) {
    return metering_->record(std::move(args));
}

Task<MetricsPiece> Calls::metrics_take(MetricsTakeArgs args) {
    return metering_->take(std::move(args));
}

Task<void> Calls::metrics_give(MetricsGiveArgs args) {
    return metering_->give(std::move(args));
}

Task<void> Calls::metrics_drop(MetricsDropArgs args) {
    return metering_->drop(std::move(args));
}

Task<void> Calls::metrics_save(MetricsSaveArgs) {
    return metering_->save();
}

Task<void> Calls::metrics_settings(MetricsSettingsArgs args) {
    metering_->set_extremes(args.extremes);
    co_return;
}

}  // namespace basalt::agent
