package org.ppghost.demo;

import android.app.Activity;
import android.os.Bundle;
import android.view.View;
import android.widget.AdapterView;
import android.widget.ArrayAdapter;
import android.widget.Spinner;
import java.util.Arrays;

/** Threads, power mode, warm-up, repeats, classes to show; kept as soon as they are chosen. */
public final class SettingsActivity extends Activity {

    private Settings settings;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        settings = ((DemoApp) getApplication()).settings();
        setContentView(R.layout.settings);
        offer(R.id.threads, "threads", Settings.THREADS, settings.threads());
        offer(R.id.warm_up, "warm_up", Settings.WARM_UPS, settings.warmUp());
        offer(R.id.repeats, "repeats", Settings.REPEATS, settings.repeats());
        offer(R.id.top_k, "top_k", Settings.TOP_KS, settings.topK());
        offerPower();
    }

    private void offer(int id, final String name, final int[] values, int chosen) {
        String[] shown = new String[values.length];
        int position = 0;
        for (int i = 0; i < values.length; i++) {
            shown[i] = String.valueOf(values[i]);
            position = values[i] == chosen ? i : position;
        }
        fill(
                id,
                shown,
                position,
                new Keeper() {
                    @Override
                    void keep(int which) {
                        settings.keep(name, values[which]);
                    }
                });
    }

    private void offerPower() {
        String[] shown = new String[Settings.POWER_MODES.length];
        ResourceWords words = new ResourceWords(this);
        for (int i = 0; i < shown.length; i++) {
            String name = Settings.POWER_MODES[i].replace("LITE_POWER_", "power_");
            shown[i] = words.get(name.toLowerCase(java.util.Locale.ROOT));
        }
        fill(
                R.id.power,
                shown,
                Math.max(0, Arrays.asList(Settings.POWER_MODES).indexOf(settings.powerMode())),
                new Keeper() {
                    @Override
                    void keep(int which) {
                        settings.keep("power_mode", Settings.POWER_MODES[which]);
                    }
                });
    }

    private void fill(int id, String[] shown, int chosen, Keeper keeper) {
        Spinner spinner = (Spinner) findViewById(id);
        ArrayAdapter<String> adapter = new ArrayAdapter<>(this, android.R.layout.simple_spinner_item, shown);
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
        spinner.setAdapter(adapter);
        spinner.setSelection(chosen);
        spinner.setOnItemSelectedListener(keeper);
    }

    /** Keeps what was chosen. */
    private abstract static class Keeper implements AdapterView.OnItemSelectedListener {
        abstract void keep(int which);

        @Override
        public final void onItemSelected(AdapterView<?> parent, View view, int position, long id) {
            keep(position);
        }

        @Override
        public final void onNothingSelected(AdapterView<?> parent) {
            // The choice stays as it was.
        }
    }
}
