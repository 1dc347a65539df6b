#include "device.h"

#include <dirent.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <vector>

#ifdef __ANDROID__
#include <sys/system_properties.h>
#endif

#include "format.h"

namespace ppghost {
namespace {

/// Return the first line of a file without what ends it; empty where it cannot be read.
std::string line_of(const std::string& path) {
  std::ifstream stream(path);
  std::string line;
  std::getline(stream, line);
  while (!line.empty() && (line.back() == '\0' || line.back() == '\r' || line.back() == ' ')) line.pop_back();
  return line;
}

/// Return what /proc/cpuinfo says behind a word, the first time that it says it.
std::string of_cpuinfo(const std::string& word) {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos || line.compare(0, word.size(), word) != 0) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    const std::size_t end = line.find_last_not_of(" \t", colon - 1);
    if (end + 1 == word.size() && begin != std::string::npos) return line.substr(begin);
  }
  return "";
}

/// Return a property of Android; empty elsewhere.
std::string property(const char* name) {
#ifdef __ANDROID__
  char value[PROP_VALUE_MAX] = "";
  __system_property_get(name, value);
  return value;
#else
  static_cast<void>(name);
  return "";
#endif
}

std::string first_of(const std::vector<std::string>& texts) {
  const auto found = std::find_if(texts.begin(), texts.end(), [](const std::string& text) { return !text.empty(); });
  return found == texts.end() ? "" : *found;
}

const char* abi() {
#if defined(__aarch64__)
  return "arm64-v8a";
#elif defined(__arm__)
  return "armeabi-v7a";
#else
  return "x86_64";
#endif
}

std::string joined(const std::vector<std::string>& items) {
  std::string list;
  for (const std::string& item : items) list += (list.empty() ? "" : ", ") + item;
  return "[" + list + "]";
}

}  // namespace

std::string device_json() {
  utsname names{};
  ::uname(&names);
  const std::string release = property("ro.build.version.release"), level = property("ro.build.version.sdk");
  const std::string android = release.empty() ? "" : "Android " + release + " (API " + level + ")";
  const std::string model = first_of({property("ro.product.model"), line_of("/proc/device-tree/model"),
                                      of_cpuinfo("model name"),
                                      of_cpuinfo("Hardware"), names.machine, "unknown"});
  const std::string soc = first_of({property("ro.soc.model"), property("ro.hardware"), of_cpuinfo("Hardware")});
  return "{\"manufacturer\": " + json_string_or_null(property("ro.product.manufacturer")) +
         ", \"model\": " + json_string(model) + ", \"soc\": " + json_string_or_null(soc) +
         ", \"os\": " + json_string(first_of({android, std::string(names.sysname) + " " + names.release})) +
         ", \"os_build\": " + json_string_or_null(first_of({property("ro.build.fingerprint"), names.version})) +
         ", \"abi\": " + json_string(abi()) + ", \"cpu_count\": " + std::to_string(::sysconf(_SC_NPROCESSORS_CONF)) +
         ", \"page_size_bytes\": " + std::to_string(::sysconf(_SC_PAGESIZE)) + "}";
}

std::string frequencies_json() {
  std::vector<std::string> clocks;
  bool is_any_known = false;
  for (long i = 0; i < ::sysconf(_SC_NPROCESSORS_CONF); ++i) {
    const std::string text = line_of("/sys/devices/system/cpu/cpu" + std::to_string(i) + "/cpufreq/scaling_cur_freq");
    const bool is_known = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    clocks.push_back(is_known ? text : "null");
    is_any_known = is_any_known || is_known;
  }
  return is_any_known ? joined(clocks) : "null";
}

std::string charging_json() {
  const std::string folder = "/sys/class/power_supply/";
  DIR* supplies = ::opendir(folder.c_str());
  if (supplies == nullptr) return "null";
  std::string answer = "null";
  while (const dirent* entry = ::readdir(supplies)) {
    const std::string supply = folder + entry->d_name;
    if (line_of(supply + "/type") != "Battery") continue;
    const std::string status = line_of(supply + "/status");
    if (status == "Charging" || status == "Full") answer = "true";
    if (status == "Discharging" || status == "Not charging") answer = "false";
  }
  ::closedir(supplies);
  return answer;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace ppghost
