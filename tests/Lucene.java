import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.lucene.analysis.core.KeywordAnalyzer;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.StringField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.queryparser.classic.QueryParser;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.store.ByteBuffersDirectory;

/**
 * Which documents a query finds, for tests/unit/test_siem.py. Input lines: a document as field, value, field, value ... with tabs between, or
 * "?" and a query. Every field is a keyword. For each query a line with the numbers of the documents that it finds.
 */
public final class Lucene {
  public static void main(String[] arguments) throws Exception {
    List<String> queries = new ArrayList<>();
    ByteBuffersDirectory directory = new ByteBuffersDirectory();
    try (IndexWriter writer = new IndexWriter(directory, new IndexWriterConfig(new KeywordAnalyzer()))) {
      BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      for (String line = input.readLine(); line != null; line = input.readLine()) {
        String[] parts = line.split("\t", -1);
        if (parts[0].equals("?")) {
          queries.add(parts[1]);
          continue;
        }
        Document document = new Document();
        for (int at = 0; at + 1 < parts.length; at += 2) {
          document.add(new StringField(parts[at], parts[at + 1], Field.Store.NO));
        }
        writer.addDocument(document);
      }
    }
    try (DirectoryReader reader = DirectoryReader.open(directory)) {
      IndexSearcher searcher = new IndexSearcher(reader);
      for (String query : queries) {
        StringBuilder found = new StringBuilder();
        for (ScoreDoc hit : searcher.search(new QueryParser("", new KeywordAnalyzer()).parse(query), 10_000).scoreDocs) {
          found.append(hit.doc).append(' ');
        }
        System.out.println(found.toString().strip());
      }
    }
  }
}
