#include "loader.h"

#include "errors.h"
#include "pictures.h"

namespace ppghost {

Loader::Loader(const Pipeline& pipeline, std::uint64_t most_pixels, std::vector<std::filesystem::path> paths, int threads,
               std::size_t ahead)
    : pipeline_(pipeline), most_pixels_(most_pixels), paths_(std::move(paths)), ahead_(ahead), slots_(ahead) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

Loader::~Loader() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  has_room_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Loader::next(Loaded& loaded) {
  if (delivered_ == paths_.size()) return false;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    Slot& slot = slots_[delivered_ % ahead_];
    is_ready_.wait(lock, [&] { return slot.is_ready; });
    loaded = std::move(slot.loaded);
    slot.is_ready = false;
    ++delivered_;
  }
  has_room_.notify_one();
  return true;
}

void Loader::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    has_room_.wait(lock, [&] { return is_stopping_ || claimed_ == paths_.size() || claimed_ < delivered_ + ahead_; });
    if (is_stopping_ || claimed_ == paths_.size()) break;
    const std::size_t mine = claimed_++;
    lock.unlock();
    Loaded loaded = load(paths_[mine]);
    lock.lock();
    slots_[mine % ahead_] = {std::move(loaded), true};
    is_ready_.notify_one();
  }
  has_room_.notify_all();  // the others, too, have nothing left to do
}

Loaded Loader::load(const std::filesystem::path& path) const {
  Loaded loaded{path, std::vector<float>(pipeline_.shape().size()), ""};
  try {
    pipeline_.to_chw(read_picture(path, most_pixels_), loaded.row.data());
  } catch (const std::exception& error) {  // a thread that throws would end the program
    loaded.row.clear();
    loaded.failure = error.what();
  }
  return loaded;
}

std::size_t look_ahead(const BackendOptions& options) {
  return 2 * options.batch + static_cast<std::size_t>(options.threads);
}

}  // namespace ppghost
