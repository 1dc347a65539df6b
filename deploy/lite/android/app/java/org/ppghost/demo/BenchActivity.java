package org.ppghost.demo;

import android.app.Activity;
import android.content.Intent;
import android.os.Bundle;
import android.view.View;
import android.view.WindowManager;
import android.widget.Button;
import android.widget.TextView;
import java.util.Arrays;
import java.util.List;

/**
 * The benchmark: published figures, ours below them, and the report as JSON.
 *
 * <p>Without hands: {@code adb shell am start -n org.ppghost.demo/.BenchActivity --es models all --ez auto true}, where
 * {@code models} may be names or ids parted by commas; {@code --ei rounds 3} and {@code --el seed 7} are optional.
 */
public final class BenchActivity extends Activity implements Benchmark.Listener, View.OnClickListener {

    private DemoApp app;
    private Benchmark benchmark;
    private TextView message;
    private SheetView sheet;
    private Button start;
    private Button share;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        app = (DemoApp) getApplication();
        benchmark = app.benchmark();
        setContentView(R.layout.bench);
        message = (TextView) findViewById(R.id.message);
        sheet = (SheetView) findViewById(R.id.sheet);
        start = (Button) findViewById(R.id.start);
        share = (Button) findViewById(R.id.share);
        start.setOnClickListener(this);
        share.setOnClickListener(this);
        if (state == null) {
            obey(getIntent());
        }
    }

    @Override
    protected void onNewIntent(Intent intent) {
        super.onNewIntent(intent);
        obey(intent);
    }

    @Override
    protected void onStart() {
        super.onStart();
        benchmark.listen(this);
        changed();
    }

    @Override
    protected void onStop() {
        benchmark.listen(null);
        super.onStop();
    }

    @Override
    public void onClick(View view) {
        if (view == share) {
            startActivity(Intent.createChooser(SharedFiles.shareReport(), getString(R.string.bench_share)));
        } else if (benchmark.isRunning()) {
            benchmark.stop();
        } else {
            benchmark.start(null, 1, System.currentTimeMillis());
        }
    }

    @Override
    public void changed() {
        message.setText(benchmark.message() == null ? getString(R.string.bench_intro) : benchmark.message());
        sheet.show(benchmark.sheet());
        start.setText(benchmark.isRunning() ? R.string.bench_stop : R.string.bench_start);
        share.setEnabled(!benchmark.isRunning() && benchmark.report() != null);
        int screenOn = WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON;
        getWindow().setFlags(benchmark.isRunning() ? screenOn : 0, screenOn);
    }

    /** Starts at once when the command line asks for it. */
    private void obey(Intent intent) {
        if (!intent.getBooleanExtra("auto", false) || benchmark.isRunning()) {
            return;
        }
        String models = intent.getStringExtra("models");
        boolean isAll = models == null || models.equals("all");
        List<String> wanted = isAll ? null : Arrays.asList(models.split(","));
        int rounds = Math.max(1, intent.getIntExtra("rounds", 1));
        benchmark.start(wanted, rounds, intent.getLongExtra("seed", System.currentTimeMillis()));
    }
}
