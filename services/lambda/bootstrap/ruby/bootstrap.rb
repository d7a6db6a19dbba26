# Runs a Ruby handler: reads invocations from the server's socket and answers them. See python/bootstrap.py for the frames.
require 'json'
require 'logger'
require 'socket'
require 'stringio'

module Cumulo
  PLACE = File.expand_path(__dir__)

  class << self
    attr_accessor :request_id

    # Writes one log record: several lines stay one event.
    def emit(text)
      end_lines
      data = "\x1e".b + text.to_s.dup.force_encoding(Encoding::BINARY).sub(/\n+\z/n, '').gsub("\n".b, "\x1e".b) + "\n".b
      $stdout.syswrite(data)
    end

    # Ends lines that were only begun, so that what comes next stands on its own.
    def end_lines
      [$stdout, $stderr].each { |stream| stream.end_line if stream.is_a?(Lines) }
    end
  end

  # A standard stream that knows whether its last line is ended.
  module Lines
    def write(*parts)
      last = parts.map(&:to_s).reject(&:empty?).last
      @is_open = !last.end_with?("\n") if last
      super
    end

    def end_line
      write("\n") if @is_open
      flush
    end
  end

  # What loggers over the standard streams write to.
  module Records
    def self.write(text)
      Cumulo.emit(text)
    end

    def self.close; end
  end

  class Formatter < Logger::Formatter
    def call(severity, time, progname, message)
      format('%s, [%s #%d] %5s %s -- %s: %s', severity[0], format_datetime(time), Process.pid, severity, Cumulo.request_id, progname,
             msg2str(message))
    end
  end

  module Loggers
    def initialize(device = nil, *rest, **options)
      return super unless device.nil? || device.equal?($stdout) || device.equal?($stderr)

      options[:level] ||= 'debug'
      options[:formatter] ||= Formatter.new
      super(Records, *rest, **options)
    end
  end

  # An error with the names that the caller is to see.
  class Fault < StandardError
    attr_reader :is_fatal

    def initialize(error, phase, is_fatal: false)
      super(error.message)
      @error, @phase, @is_fatal = error, phase, is_fatal
    end

    def shown
      lines = (@error.backtrace_locations || []).first(100).map(&:to_s)
      { errorMessage: message, errorType: "#{@phase}<#{@error.class}>",
        stackTrace: lines.take_while { |line| !line.start_with?(PLACE) && !line.start_with?('<internal:') } }
    end

    def log(title)
      puts title
      puts JSON.pretty_generate(shown)
    end
  end

  class Context
    attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name, :memory_limit_in_mb,
                :function_version, :identity, :tenant_id, :client_context, :deadline_ms

    def initialize(header)
      @aws_request_id = header['id']
      @invoked_function_arn = header['arn']
      @client_context = header['client_context']
      @identity = header['identity']
      @log_group_name = ENV['AWS_LAMBDA_LOG_GROUP_NAME']
      @log_stream_name = ENV['AWS_LAMBDA_LOG_STREAM_NAME']
      @function_name = ENV['AWS_LAMBDA_FUNCTION_NAME']
      @memory_limit_in_mb = ENV['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']
      @function_version = ENV['AWS_LAMBDA_FUNCTION_VERSION']
      @ends = now(Process::CLOCK_MONOTONIC) + header['millis']
      @deadline_ms = now(Process::CLOCK_REALTIME) + header['millis']
    end

    def get_remaining_time_in_millis
      [@ends - now(Process::CLOCK_MONOTONIC), 0].max
    end

    private

    def now(clock)
      Process.clock_gettime(clock, :millisecond)
    end
  end

  class Channel
    def initialize(number)
      @socket = UNIXSocket.for_fd(number)
    end

    def send(header, payload = '')
      head = JSON.generate(header).b
      body = payload.b
      @socket.write([head.bytesize, body.bytesize].pack('VV') + head + body)
      @socket.flush
    end

    # The next invocation; nil at the end.
    def receive
      lengths = @socket.read(8)
      return unless lengths && lengths.bytesize == 8

      head, body = lengths.unpack('VV')
      [JSON.parse(@socket.read(head)), body.zero? ? ''.b : @socket.read(body)]
    end
  end

  # The function's handler, as `file.method` or `file.Module::Class.method`.
  class Handler
    attr_reader :file

    def initialize(name)
      parts = name.split('.')
      unless [2, 3].include?(parts.size)
        raise ArgumentError, "Invalid handler #{parts}, must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where FILENAME corresponds " \
                             'with an existing Ruby source file FILENAME.rb, CLASS is an optional module/class namespace and METHOD is a ' \
                             'callable method. If using CLASS, METHOD must be a class-level method.'
      end
      @file = parts.first
      @method = parts.last
      @owner = parts[1] if parts.size == 3
    end

    def call(payload, context)
      event = payload.empty? ? nil : JSON.parse(payload.force_encoding(Encoding::UTF_8))
      receiver = @owner ? Kernel.const_get(@owner) : TOPLEVEL_BINDING.receiver
      answer = receiver.__send__(@method, event: event, context: context)
      answer.is_a?(StringIO) || answer.is_a?(IO) ? answer.read.to_s : answer.to_json
    rescue NameError => e
      raise Fault.new(e, 'Function', is_fatal: true)
    rescue StandardError => e
      raise Fault.new(e, 'Function')
    rescue Exception => e
      raise Fault.new(e, 'Function', is_fatal: true)
    end
  end

  def self.load(channel)
    task = ENV['LAMBDA_TASK_ROOT'] || '/var/task'
    $LOAD_PATH.unshift(task) unless $LOAD_PATH.include?(task)
    handler = Handler.new(ENV['_HANDLER'].to_s)
    require handler.file
    handler
  rescue Exception => e
    fault = Fault.new(e, 'Init')
    fault.log("Init error when loading handler #{ENV['_HANDLER']}")
    channel.send({ t: 'init_error' }, JSON.generate(fault.shown))
    exit!(252)
  end

  def self.answer(handler, channel, header, payload)
    self.request_id = header['id']
    ENV['_X_AMZN_TRACE_ID'] = header['trace'] if header['trace']
    result = handler.call(payload, Context.new(header))
    end_lines
    channel.send({ t: 'done' }, result)
  rescue Fault => e
    e.log(e.is_fatal ? 'Critical exception from handler' : 'Error raised from handler method')
    end_lines
    channel.send({ t: 'error', last: e.is_fatal }, JSON.generate(e.shown))
    exit!(255) if e.is_fatal
  end

  def self.main
    [$stdout, $stderr].each do |stream|
      stream.sync = true
      stream.extend(Lines)
    end
    %w[CUMULO_LAYERS_ROOT CUMULO_EXTRA_PACKAGES].each { |name| ENV.delete(name) }
    # Naming a gem path hides the interpreter's own places for gems.
    Gem.use_paths(Gem.default_dir, (ENV['GEM_PATH'] || '').split(':') + Gem.default_path) if defined?(Gem)
    channel = Channel.new(3)
    handler = load(channel)
    channel.send({ t: 'ready' })
    while (header, payload = channel.receive)
      answer(handler, channel, header, payload)
    end
    exit!(0)
  end
end

module Kernel
  private

  def puts(*parts)
    Cumulo.emit(parts.flatten.map { |part| part.to_s.encode(Encoding::UTF_8, invalid: :replace, undef: :replace) }.join("\n"))
    nil
  end
end
Logger.prepend(Cumulo::Loggers)
Cumulo.main
