// What a benchmark must tell about the device it ran on, read from /proc, /sys and, on Android, its properties.
#pragma once

#include <string>

namespace ppghost {

/// Return the section `device` of the result as a JSON object.
std::string device_json();

/// Return the clock of each processor in kHz as a JSON list, null where it cannot be read; null where none can.
std::string frequencies_json();

/// Return `true` or `false` for a device with a battery, whether it is charged or full on a charger; else `null`.
std::string charging_json();

/// Return the time now in UTC: 2026-11-22T04:50:00Z.
std::string utc_now();

}  // namespace ppghost
