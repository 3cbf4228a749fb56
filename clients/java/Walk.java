import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import todo.ApiClient;
import todo.api.AccountsApi;
import todo.api.TodosApi;
import todo.model.AccountCreate;
import todo.model.AccountDelete;
import todo.model.ReminderIn;
import todo.model.TodoCreate;
import todo.model.TodoPublic;
import todo.model.TokenAnswer;

/** Walks the generated Java client from opening an account to a reminder on the stream: java Walk ADDRESS. */
public final class Walk {
  private static final String PASSWORD = "correct horse battery staple";

  private Walk() {}

  public static void main(String[] arguments) throws Exception {
    String address = arguments[0];
    String name = "lin-" + UUID.randomUUID().toString().substring(0, 8);
    ApiClient client = new ApiClient();
    client.updateBaseUri(address);
    // By default Java offers HTTP/2 on a plain connection, which the API's server closes; by https it would not matter.
    client.setHttpClientBuilder(HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1));
    AccountsApi accounts = new AccountsApi(client);
    accounts.register(new AccountCreate().username(name).email(name + "@example.com").password(PASSWORD));
    TokenAnswer first = accounts.signIn("password", name, PASSWORD, null, null, null, null);
    TokenAnswer tokens = accounts.signIn("refresh_token", null, null, first.getRefreshToken(), null, null, null);
    String bearer = "Bearer " + tokens.getAccessToken();
    client.setRequestInterceptor(request -> request.header("Authorization", bearer));
    TodosApi todos = new TodosApi(client);
    accounts = new AccountsApi(client);

    TodoPublic milk = todos.createTodo(new TodoCreate().title("Buy milk"));
    todos.completeTodo(milk.getId());
    List<UUID> done =
        todos.listTodos(null, null, true, null, null, null).getItems().stream().map(TodoPublic::getId).toList();
    check(done.equals(List.of(milk.getId())), "listed " + done);

    // The generated operation would read the stream to its end.
    HttpRequest stream =
        HttpRequest.newBuilder(URI.create(address + "/notifications/stream")).header("Authorization", bearer).build();
    var answer = client.getHttpClient().send(stream, HttpResponse.BodyHandlers.ofInputStream());
    check(answer.statusCode() == 200, "the stream answered " + answer.statusCode());
    try (var lines = new BufferedReader(new InputStreamReader(answer.body(), StandardCharsets.UTF_8))) {
      lines.readLine();
      OffsetDateTime due = OffsetDateTime.now().plus(Duration.ofSeconds(2));
      todos.createTodo(new TodoCreate().title("买牛奶").dueAt(due).reminders(Set.of(new ReminderIn().at(due))));
      String line = lines.readLine();
      while (line != null && !line.startsWith("data:")) {
        line = lines.readLine();
      }
      check(line != null && line.contains("买牛奶"), "the stream said " + line);
    }
    accounts.deleteMe(new AccountDelete().password(PASSWORD));
  }

  private static void check(boolean holds, String otherwise) {
    if (!holds) {
      throw new AssertionError(otherwise);
    }
  }
}
