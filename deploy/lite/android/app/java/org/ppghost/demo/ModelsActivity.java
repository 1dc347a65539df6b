package org.ppghost.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.ActivityNotFoundException;
import android.content.DialogInterface;
import android.content.Intent;
import android.database.Cursor;
import android.net.Uri;
import android.os.Bundle;
import android.provider.DocumentsContract;
import android.view.View;
import android.view.ViewGroup;
import android.widget.ArrayAdapter;
import android.widget.ListView;
import android.widget.TextView;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import org.ppghost.core.ModelFolder;
import org.ppghost.core.ModelImport;
import org.ppghost.core.ModelSpec;
import org.ppghost.core.Problem;

/** The models on the phone, and how others come here: as a zip archive or as a folder. */
public final class ModelsActivity extends Activity implements View.OnClickListener, ModelStore.Listener {

    private static final int ZIP = 1;
    private static final int FOLDER = 2;

    private DemoApp app;
    private ResourceWords words;
    private TextView message;
    private ListView list;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        app = (DemoApp) getApplication();
        words = new ResourceWords(this);
        setContentView(R.layout.models);
        message = (TextView) findViewById(R.id.message);
        list = (ListView) findViewById(R.id.list);
        findViewById(R.id.import_zip).setOnClickListener(this);
        findViewById(R.id.import_folder).setOnClickListener(this);
    }

    @Override
    protected void onStart() {
        super.onStart();
        app.models().listen(this);
        changed();
    }

    @Override
    protected void onStop() {
        app.models().listen(null);
        super.onStop();
    }

    @Override
    public void changed() {
        String news = app.models().news();
        message.setText(news == null ? getString(R.string.models_note) : news);
        list.setAdapter(new Rows());
    }

    @Override
    public void onClick(View view) {
        boolean isZip = view.getId() == R.id.import_zip;
        // Every type: file managers do not agree on what a zip archive is called.
        Intent zip = new Intent(Intent.ACTION_OPEN_DOCUMENT).setType("*/*").addCategory(Intent.CATEGORY_OPENABLE);
        Intent folder = new Intent(Intent.ACTION_OPEN_DOCUMENT_TREE);
        try {
            startActivityForResult(isZip ? zip : folder, isZip ? ZIP : FOLDER);
        } catch (ActivityNotFoundException e) {
            app.models().tell(words.of(new Problem(Problem.Code.NO_APP)));
        }
    }

    @Override
    protected void onActivityResult(final int request, int result, Intent data) {
        if (result != RESULT_OK || data == null || data.getData() == null) {
            return;
        }
        final Uri uri = data.getData();
        app.models().tell(getString(R.string.importing));
        app.work(
                new Runnable() {
                    @Override
                    public void run() {
                        app.models().tell(bring(request, uri));
                    }
                });
    }

    /** Imports on the worker and returns the sentence about it. */
    private String bring(int request, Uri uri) {
        try {
            ModelFolder model = request == ZIP ? bringZip(uri) : bringFolder(uri);
            return words.get("imported", model.spec.name);
        } catch (Problem problem) {
            return words.of(problem);
        } catch (FileNotFoundException | RuntimeException e) {
            // RuntimeException: what goes wrong in the app that has the files arrives here.
            return words.of(new Problem(Problem.Code.IO, String.valueOf(e.getMessage())));
        } catch (OutOfMemoryError e) {
            return words.of(new Problem(Problem.Code.NO_MEMORY));
        }
    }

    private ModelFolder bringZip(Uri uri) throws Problem, FileNotFoundException {
        InputStream in = getContentResolver().openInputStream(uri);
        if (in == null) {
            throw new FileNotFoundException(uri.toString());
        }
        return app.models().importZip(in);
    }

    private ModelFolder bringFolder(Uri tree) throws Problem {
        String id = DocumentsContract.getTreeDocumentId(tree);
        final Map<String, Uri> files = filesOf(tree, id);
        ModelImport.Source source =
                new ModelImport.Source() {
                    @Override
                    public InputStream open(String name) throws IOException {
                        Uri file = files.get(name);
                        return file == null ? null : getContentResolver().openInputStream(file);
                    }
                };
        return app.models().importFolder(source, id.substring(id.lastIndexOf('/') + 1));
    }

    private Map<String, Uri> filesOf(Uri tree, String id) {
        Map<String, Uri> files = new HashMap<>();
        Uri children = DocumentsContract.buildChildDocumentsUriUsingTree(tree, id);
        String[] columns = {
            DocumentsContract.Document.COLUMN_DISPLAY_NAME, DocumentsContract.Document.COLUMN_DOCUMENT_ID,
        };
        try (Cursor cursor = getContentResolver().query(children, columns, null, null, null)) {
            while (cursor != null && cursor.moveToNext()) {
                Uri file = DocumentsContract.buildDocumentUriUsingTree(tree, cursor.getString(1));
                files.put(cursor.getString(0), file);
            }
        }
        return files;
    }

    private void askToRemove(final ModelStore.Choice choice) {
        DialogInterface.OnClickListener remove =
                new DialogInterface.OnClickListener() {
                    @Override
                    public void onClick(DialogInterface dialog, int which) {
                        app.work(
                                new Runnable() {
                                    @Override
                                    public void run() {
                                        app.models().remove(choice);
                                        app.models().tell(null);
                                    }
                                });
                    }
                };
        new AlertDialog.Builder(this)
                .setMessage(words.get("remove_question", choice.model.spec.name))
                .setPositiveButton(R.string.remove, remove)
                .setNegativeButton(R.string.cancel, null)
                .show();
    }

    /** One row for each form. */
    private final class Rows extends ArrayAdapter<ModelStore.Choice> {
        Rows() {
            super(ModelsActivity.this, 0, app.models().choices());
        }

        @Override
        public boolean areAllItemsEnabled() {
            return false;
        }

        @Override
        public boolean isEnabled(int position) {
            return false;
        }

        @Override
        public View getView(int position, View old, ViewGroup parent) {
            View row = old == null ? getLayoutInflater().inflate(R.layout.model_row, parent, false) : old;
            final ModelStore.Choice choice = getItem(position);
            ModelSpec spec = choice.model.spec;
            String size = String.format(Locale.ROOT, "%.1f", choice.variant.sizeBytes / 1e6);
            ((TextView) row.findViewById(R.id.name)).setText(choice.id);
            ((TextView) row.findViewById(R.id.details))
                    .setText(
                            words.get(
                                    "model_details",
                                    size,
                                    spec.classCount,
                                    spec.preprocess.crop,
                                    spec.graph,
                                    choice.variant.optVersion,
                                    spec.version,
                                    choice.variant.sha256.substring(0, 16)));
            View remove = row.findViewById(R.id.remove);
            remove.setContentDescription(getString(R.string.remove) + " " + choice.id);
            remove.setOnClickListener(
                    new View.OnClickListener() {
                        @Override
                        public void onClick(View view) {
                            askToRemove(choice);
                        }
                    });
            return row;
        }
    }
}
