package org.ppghost.demo;

import android.app.Activity;
import android.os.Build;
import android.os.Bundle;
import android.widget.TextView;
import java.io.File;
import java.io.IOException;
import org.ppghost.core.Abi;
import org.ppghost.core.ElfFile;

/** What this app is, what this phone is, which library works in it, and under which licences. */
public final class AboutActivity extends Activity {

    private static final String LIBRARY = "libpaddle_lite_jni.so";

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        DemoApp app = (DemoApp) getApplication();
        ResourceWords words = new ResourceWords(this);
        String version = app.benchmark().version();
        String phone = Build.MANUFACTURER + " " + Build.MODEL + ", Android " + Build.VERSION.RELEASE;
        String text =
                words.get("about_text", version)
                        + "\n\n"
                        + words.get("about_phone", phone, Phone.soc(), Abi.ofProcess(), Phone.pageSize())
                        + "\n\n"
                        + library(app.models().libraryVersion(), words)
                        + "\n\n"
                        + words.get("about_licences");
        setContentView(R.layout.about);
        ((TextView) findViewById(R.id.text)).setText(text);
    }

    private String library(String version, ResourceWords words) {
        if (version == null) {
            return words.get("about_lite_none", Abi.ofProcess());
        }
        String alignment;
        try {
            long bytes = ElfFile.loadAlignment(new File(getApplicationInfo().nativeLibraryDir, LIBRARY));
            boolean isGood = bytes >= Phone.pageSize();
            alignment = words.get(isGood ? "about_alignment" : "about_alignment_bad", bytes, Phone.pageSize());
        } catch (IOException e) {
            alignment = String.valueOf(e.getMessage());
        }
        return words.get("about_lite", version, alignment);
    }
}
