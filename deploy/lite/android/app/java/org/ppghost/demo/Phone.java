package org.ppghost.demo;

import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.BatteryManager;
import android.os.Build;
import android.os.PowerManager;
import android.system.Os;
import android.system.OsConstants;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.ppghost.core.Abi;
import org.ppghost.core.BenchRun;

/** The facts of the phone; what a version of Android does not tell is null. */
final class Phone {

    private static final int API_THERMAL = 29;
    private static final int API_SOC = 31;

    private Phone() {}

    /** Returns what a benchmark report says of the device. */
    static Map<String, Object> describe() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("manufacturer", known(Build.MANUFACTURER));
        map.put("model", Build.MODEL);
        map.put("soc", soc());
        map.put("os", "Android " + Build.VERSION.RELEASE + " (API " + Build.VERSION.SDK_INT + ")");
        map.put("os_build", known(Build.FINGERPRINT));
        map.put("abi", Abi.ofProcess());
        map.put("cpu_count", cpuCount());
        map.put("page_size_bytes", pageSize());
        return map;
    }

    static String soc() {
        if (Build.VERSION.SDK_INT >= API_SOC) {
            try {
                return known((String) Build.class.getField("SOC_MODEL").get(null));
            } catch (ReflectiveOperationException e) {
                return known(Build.HARDWARE);
            }
        }
        return known(Build.HARDWARE);
    }

    static long pageSize() {
        return Os.sysconf(OsConstants._SC_PAGESIZE);
    }

    /** Returns clocks, heat and power of this moment. */
    static BenchRun.State state(Context context) {
        PowerManager power = (PowerManager) context.getSystemService(Context.POWER_SERVICE);
        Intent battery = context.registerReceiver(null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
        Boolean isCharging = battery == null ? null : battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) != 0;
        return new BenchRun.State(frequencies(), thermal(power), isCharging, power.isPowerSaveMode());
    }

    static String processName() {
        try {
            String line = readLine(new File("/proc/self/cmdline"));
            int end = line.indexOf('\0');
            return end < 0 ? line : line.substring(0, end);
        } catch (IOException e) {
            return "";
        }
    }

    private static Integer thermal(PowerManager power) {
        if (Build.VERSION.SDK_INT < API_THERMAL) {
            return null;
        }
        try {
            return (Integer) PowerManager.class.getMethod("getCurrentThermalStatus").invoke(power);
        } catch (ReflectiveOperationException e) {
            return null;
        }
    }

    private static List<Long> frequencies() {
        List<Long> list = new ArrayList<>();
        boolean isAnyKnown = false;
        for (int i = 0; i < cpuCount(); i++) {
            Long khz = frequency(i);
            isAnyKnown |= khz != null;
            list.add(khz);
        }
        return isAnyKnown ? list : null;
    }

    private static Long frequency(int cpu) {
        try {
            String path = "/sys/devices/system/cpu/cpu" + cpu + "/cpufreq/scaling_cur_freq";
            return Long.valueOf(readLine(new File(path)).trim());
        } catch (IOException | NumberFormatException e) {
            return null;
        }
    }

    private static int cpuCount() {
        // Not availableProcessors(): cores that sleep count, too.
        return (int) Math.max(1, Os.sysconf(OsConstants._SC_NPROCESSORS_CONF));
    }

    private static String readLine(File file) throws IOException {
        try (Reader in = new InputStreamReader(new FileInputStream(file), StandardCharsets.UTF_8)) {
            String line = new BufferedReader(in).readLine();
            return line == null ? "" : line;
        }
    }

    private static String known(String text) {
        return text == null || text.isEmpty() || text.equals(Build.UNKNOWN) ? null : text;
    }
}
