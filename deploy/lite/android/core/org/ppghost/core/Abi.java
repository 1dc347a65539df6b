package org.ppghost.core;

/** Names of processor architectures. */
public final class Abi {

    private Abi() {}

    /** Returns the ABI of this process, as Android names it; a 64-bit phone may run a 32-bit app. */
    public static String ofProcess() {
        return of(System.getProperty("os.arch", ""));
    }

    /** Returns Android's name of what Java calls {@code os.arch}. */
    public static String of(String arch) {
        if (arch.equals("aarch64") || arch.equals("arm64")) {
            return "arm64-v8a";
        }
        if (arch.startsWith("arm")) {
            return "armeabi-v7a";
        }
        if (arch.equals("x86_64") || arch.equals("amd64")) {
            return "x86_64";
        }
        return arch;
    }
}
