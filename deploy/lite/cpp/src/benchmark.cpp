#include "benchmark.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <thread>

#include "device.h"
#include "engine.h"
#include "format.h"
#include "golden.h"
#include "nb.h"
#include "statistics.h"

namespace ppghost {
namespace {

using Clock = std::chrono::steady_clock;

/// One network in one form.
struct Subject {
  std::string id;
  const Model* model;
  NbFile file;
  Golden golden;
};

/// One measurement of the plan.
struct Cell {
  const Subject* subject;
  int threads;
  std::size_t round;

  /// Return the members that name the cell, of its result or of why there is none.
  std::string name_json() const {
    return "\"model\": " + json_string(subject->id) + ", \"threads\": " + std::to_string(threads) +
           ", \"round\": " + std::to_string(round);
  }
};

template <typename Items, typename Write>
std::string list_json(const Items& items, Write write) {
  std::string list;
  for (const auto& item : items) list += (list.empty() ? "" : ", ") + write(item);
  return "[" + list + "]";
}

/// Return what the plan measures; each file is checked here, before the first run.
std::vector<Subject> subjects_of(const BenchmarkPlan& plan) {
  std::vector<Subject> subjects;
  for (const Model& model : plan.models) {
    for (const NbFile& file : files_for(model, this_arch(), plan.precision)) {
      const std::string id = model.name + "/" + file.arch + "." + file.precision;
      const auto is_same = [&](const Subject& other) { return other.id.compare(0, other.id.find('#'), id) == 0; };
      const auto before = std::count_if(subjects.begin(), subjects.end(), is_same);
      check_nb_file(model.path_of(file.name), file);
      subjects.push_back({before == 0 ? id : id + "#" + std::to_string(before + 1), &model, file, read_golden(model)});
    }
  }
  return subjects;
}

std::vector<Cell> cells_of(const BenchmarkPlan& plan, const std::vector<Subject>& subjects) {
  std::vector<Cell> cells;
  for (std::size_t round = 1; round <= plan.rounds; ++round) {
    for (const std::size_t i : shuffled(subjects.size() * plan.threads.size(), plan.seed + round - 1)) {
      cells.push_back({&subjects[i / plan.threads.size()], plan.threads[i % plan.threads.size()], round});
    }
  }
  return cells;
}

std::vector<std::int64_t> time_runs(Engine& engine, std::size_t warmup, std::size_t repeats) {
  std::vector<std::int64_t> times;
  for (std::size_t i = 0; i < warmup; ++i) engine.run();
  for (std::size_t i = 0; i < repeats; ++i) {
    const Clock::time_point start = Clock::now();
    engine.run();
    const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
    times.push_back(std::max<std::int64_t>(spent, 1));
  }
  return times;
}

std::string subject_json(const Subject& subject) {
  const Model& model = *subject.model;
  const NbFile& file = subject.file;
  return "{\"id\": " + json_string(subject.id) + ", \"name\": " + json_string(model.name) +
         ", \"version\": " + json_string(model.version) + ", \"graph\": " + json_string(model.graph) +
         ", \"arch\": " + json_string(file.arch) + ", \"precision\": " + json_string(file.precision) +
         ", \"input_shape\": [1, 3, " + std::to_string(model.height) + ", " + std::to_string(model.width) +
         "], \"class_num\": " + std::to_string(model.class_num) + ", \"file\": " + json_string(file.name) +
         ", \"size_bytes\": " + std::to_string(file.size_bytes) + ", \"sha256\": " + json_string(file.sha256) +
         ", \"meta_version\": " + std::to_string(file.meta_version) + ", \"opt_version\": " +
         json_string(file.opt_version) + "}";
}

std::string plan_json(const BenchmarkPlan& plan, const std::vector<Subject>& subjects) {
  return "{\"models\": " + list_json(subjects, [](const Subject& subject) { return json_string(subject.id); }) +
         ", \"threads\": " + list_json(plan.threads, [](int threads) { return std::to_string(threads); }) +
         ", \"power_mode\": " + json_string(plan.power_mode) + ", \"batch\": 1, \"warmup\": " + std::to_string(plan.warmup) +
         ", \"repeats\": " + std::to_string(plan.repeats) + ", \"rounds\": " + std::to_string(plan.rounds) +
         ", \"seed\": " + std::to_string(plan.seed) + ", \"pause_seconds\": " + json_fixed(plan.pause_seconds, 3) + "}";
}

/// Runs cell after cell and collects their JSON.
class Runner {
 public:
  explicit Runner(const BenchmarkPlan& plan) : plan_(plan) {}

  void run(const Cell& cell) {
    if (cell.subject->file.precision == "fp16" && !has_fp16()) {
      return skip(cell, "this processor does not compute in fp16");
    }
    Engine engine(*cell.subject->model, cell.subject->file, {cell.threads, plan_.power_mode});
    version_ = engine.version();
    const RunMode taken = engine.taken();
    if (taken.threads != cell.threads) {
      return skip(cell, "Paddle Lite takes " + std::to_string(taken.threads) + " threads on this device");
    }
    if (taken.power_mode != plan_.power_mode) notes_ = "Paddle Lite takes " + taken.power_mode + " on this device";
    const Check check = check_network(cell.subject->golden, engine, "golden", cell.subject->file.rtol);
    is_golden_reached_ = is_golden_reached_ && check.passed;
    const std::string before = frequencies_json();
    const std::vector<std::int64_t> times = time_runs(engine, plan_.warmup, plan_.repeats);
    std::cerr << "median " << json_fixed(median_of(times) / 1e6, 3) << " ms"
              << (check.passed ? "" : ", golden is NOT reached: " + check.reason) << '\n';
    done_.push_back("{" + cell.name_json() +
                    ", \"times_ns\": " + list_json(times, [](std::int64_t time) { return std::to_string(time); }) + ", " +
                    statistics_json(times) + ", \"frequencies_before_khz\": " + before +
                    ", \"frequencies_after_khz\": " + frequencies_json() +
                    ", \"thermal_before\": null, \"thermal_after\": null, \"charging\": " + charging_json() +
                    ", \"battery_saver\": null, \"golden_passed\": " + (check.passed ? "true" : "false") + "}");
  }

  bool is_golden_reached() const { return is_golden_reached_; }
  const std::string& version() const { return version_; }
  const std::string& notes() const { return notes_; }
  const std::vector<std::string>& done() const { return done_; }
  const std::vector<std::string>& skipped_cells() const { return skipped_; }

 private:
  void skip(const Cell& cell, const std::string& reason) {
    std::cerr << "skipped: " << reason << '\n';
    skipped_.push_back("{" + cell.name_json() + ", \"reason\": " + json_string(reason) + "}");
  }

  const BenchmarkPlan& plan_;
  bool is_golden_reached_ = true;
  std::string version_, notes_;
  std::vector<std::string> done_, skipped_;
};

}  // namespace

BenchmarkResult benchmark(const BenchmarkPlan& plan) {
  check_is_no_stub();
  const std::string created = utc_now();
  const std::vector<Subject> subjects = subjects_of(plan);
  const std::vector<Cell> cells = cells_of(plan, subjects);
  Runner runner(plan);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) std::this_thread::sleep_for(std::chrono::duration<double>(plan.pause_seconds));
    std::cerr << "[" << i + 1 << "/" << cells.size() << "] " << cells[i].subject->id << ", threads " << cells[i].threads
              << ", round " << cells[i].round << ": " << std::flush;
    runner.run(cells[i]);
  }
  if (!runner.notes().empty()) std::cerr << "note: " << runner.notes() << ".\n";
  const auto as_it_is = [](const std::string& text) { return text; };
  BenchmarkResult result;
  result.is_golden_reached = runner.is_golden_reached();
  result.json = "{\"format\": 1, \"kind\": \"ppghost-phone-benchmark\", \"created\": " + json_string(created) +
                ", \"program\": {\"name\": \"ppghost_lite\", \"version\": " + json_string(PPGHOST_VERSION) + "}" +
                ", \"plan\": " + plan_json(plan, subjects) + ", \"device\": " + device_json() +
                ", \"engine\": {\"name\": \"Paddle Lite\", \"version\": " + json_string(runner.version()) + "}" +
                ", \"models\": " + list_json(subjects, subject_json) + ", \"cells\": " + list_json(runner.done(), as_it_is) +
                ", \"skipped\": " + list_json(runner.skipped_cells(), as_it_is) + "}";
  return result;
}

}  // namespace ppghost
