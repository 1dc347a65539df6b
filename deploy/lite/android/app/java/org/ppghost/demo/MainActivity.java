package org.ppghost.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.ActivityNotFoundException;
import android.content.DialogInterface;
import android.content.Intent;
import android.net.Uri;
import android.os.BadParcelableException;
import android.os.Bundle;
import android.os.Parcelable;
import android.provider.MediaStore;
import android.view.Menu;
import android.view.MenuItem;
import android.view.View;
import android.widget.AdapterView;
import android.widget.ArrayAdapter;
import android.widget.Spinner;
import android.widget.TextView;
import java.io.IOException;
import java.util.List;
import org.ppghost.core.Bytes;
import org.ppghost.core.Problem;

/** The first screen: choose a model, choose or take a picture, see what it is. */
public final class MainActivity extends Activity
        implements Classification.Listener, View.OnClickListener, AdapterView.OnItemSelectedListener {

    private static final int GALLERY = 1;
    private static final int CAMERA = 2;

    private DemoApp app;
    private Spinner modelChoice;
    private TextView message;
    private SheetView sheet;
    private List<ModelStore.Choice> shown;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        app = (DemoApp) getApplication();
        setContentView(R.layout.main);
        modelChoice = (Spinner) findViewById(R.id.model);
        message = (TextView) findViewById(R.id.message);
        sheet = (SheetView) findViewById(R.id.sheet);
        findViewById(R.id.gallery).setOnClickListener(this);
        findViewById(R.id.camera).setOnClickListener(this);
        View samples = findViewById(R.id.samples);
        samples.setOnClickListener(this);
        samples.setVisibility(samples().length == 0 ? View.GONE : View.VISIBLE);
        modelChoice.setOnItemSelectedListener(this);
        // A picture that was shared is classified once, not again when the phone is turned.
        if (state == null) {
            receive(getIntent());
        }
    }

    @Override
    protected void onStart() {
        super.onStart();
        app.classification().listen(this);
        changed();
        showModelsWhenReady();
    }

    @Override
    protected void onStop() {
        app.classification().listen(null);
        super.onStop();
    }

    @Override
    protected void onNewIntent(Intent intent) {
        super.onNewIntent(intent);
        receive(intent);
    }

    @Override
    public boolean onCreateOptionsMenu(Menu menu) {
        getMenuInflater().inflate(R.menu.main, menu);
        return true;
    }

    @Override
    public boolean onOptionsItemSelected(MenuItem item) {
        int id = item.getItemId();
        if (id == R.id.models) {
            startActivity(new Intent(this, ModelsActivity.class));
        } else if (id == R.id.benchmark) {
            startActivity(new Intent(this, BenchActivity.class));
        } else if (id == R.id.settings) {
            startActivity(new Intent(this, SettingsActivity.class));
        } else if (id == R.id.about) {
            startActivity(new Intent(this, AboutActivity.class));
        } else {
            return super.onOptionsItemSelected(item);
        }
        return true;
    }

    @Override
    public void onClick(View view) {
        int id = view.getId();
        if (id == R.id.gallery) {
            Intent intent = new Intent(Intent.ACTION_OPEN_DOCUMENT).setType("image/*");
            ask(intent.addCategory(Intent.CATEGORY_OPENABLE), GALLERY);
        } else if (id == R.id.camera) {
            // A camera app that writes nothing must not make the last picture come again.
            Bytes.remove(SharedFiles.camera(this));
            ask(SharedFiles.askCamera(MediaStore.ACTION_IMAGE_CAPTURE, MediaStore.EXTRA_OUTPUT), CAMERA);
        } else {
            chooseSample();
        }
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        if (result != RESULT_OK) {
            return;
        }
        if (request == CAMERA) {
            app.classification().start(SharedFiles.cameraUri());
        } else if (data != null && data.getData() != null) {
            app.classification().start(data.getData());
        }
    }

    @Override
    public void onItemSelected(AdapterView<?> parent, View view, int position, long id) {
        app.settings().keep("model", shown.get(position).id);
    }

    @Override
    public void onNothingSelected(AdapterView<?> parent) {
        // The choice stays as it was.
    }

    @Override
    public void changed() {
        Classification last = app.classification();
        boolean isDone = !last.isWorking() && last.sheet() != null;
        message.setVisibility(isDone ? View.GONE : View.VISIBLE);
        sheet.setVisibility(isDone ? View.VISIBLE : View.GONE);
        if (last.isWorking()) {
            message.setText(R.string.working);
        } else if (last.problem() != null) {
            message.setText(new ResourceWords(this).of(last.problem()));
        } else if (last.sheet() != null) {
            sheet.show(last.sheet());
        }
    }

    /** Lists the models once the worker has brought those of the app into their place. */
    private void showModelsWhenReady() {
        if (app.models().isReady()) {
            showModels();
            return;
        }
        message.setText(R.string.preparing);
        app.work(
                new Runnable() {
                    @Override
                    public void run() {
                        app.show(
                                new Runnable() {
                                    @Override
                                    public void run() {
                                        showModels();
                                    }
                                });
                    }
                });
    }

    private void showModels() {
        shown = app.models().choices();
        ArrayAdapter<ModelStore.Choice> names =
                new ArrayAdapter<>(this, android.R.layout.simple_spinner_item, shown);
        names.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
        modelChoice.setAdapter(names);
        modelChoice.setSelection(Math.max(0, shown.indexOf(app.models().chosen())));
        Problem missing = app.models().problem();
        boolean isIdle = app.classification().sheet() == null && app.classification().problem() == null;
        if (isIdle && !app.classification().isWorking()) {
            String none = shown.isEmpty() ? getString(R.string.no_models) : getString(R.string.hint);
            message.setText(missing == null ? none : new ResourceWords(this).of(missing));
        }
    }

    private void receive(Intent intent) {
        if (intent == null || !Intent.ACTION_SEND.equals(intent.getAction())) {
            return;
        }
        Uri shared = sharedPicture(intent);
        if (shared != null) {
            app.classification().start(shared);
        } else {
            app.classification().fail(new Problem(Problem.Code.NO_PICTURE));
        }
    }

    /** Returns the address in an intent; null when there is none. The sender is another app: anything may be there. */
    private static Uri sharedPicture(Intent intent) {
        try {
            Parcelable shared = intent.getParcelableExtra(Intent.EXTRA_STREAM);
            return shared instanceof Uri ? (Uri) shared : null;
        } catch (BadParcelableException e) {
            // A class of the sender, which this app does not have.
            return null;
        }
    }

    private void ask(Intent intent, int request) {
        try {
            startActivityForResult(intent, request);
        } catch (ActivityNotFoundException e) {
            app.classification().fail(new Problem(Problem.Code.NO_APP));
        }
    }

    private void chooseSample() {
        final String[] names = samples();
        DialogInterface.OnClickListener choose =
                new DialogInterface.OnClickListener() {
                    @Override
                    public void onClick(DialogInterface dialog, int which) {
                        app.classification().start(Pictures.sample(names[which]));
                    }
                };
        new AlertDialog.Builder(this).setTitle(R.string.samples).setItems(names, choose).show();
    }

    private String[] samples() {
        try {
            String[] names = getAssets().list("samples");
            return names == null ? new String[0] : names;
        } catch (IOException e) {
            return new String[0];
        }
    }
}
