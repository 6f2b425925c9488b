require "action_controller/railtie"

class Application < Rails::Application
  config.consider_all_requests_local = true # as in every new application's development.rb
  config.root = File.expand_path("..", __dir__)
  config.eager_load = false
  config.secret_key_base = "test"
  config.logger = Logger.new($stdout)
  # Rails does this itself from version 7 on.
  config.hosts.concat(ENV["RAILS_DEVELOPMENT_HOSTS"].to_s.split(",")) if Rails::VERSION::MAJOR < 7
  routes.append { root to: proc { [200, {}, ["rails"]] } }
end
